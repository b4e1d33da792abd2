"""How many requests at once the API bears: found out by asking for a little more, and halving where
it groans.

    a success with the limit reached   limit += 1 / limit      (one more after a whole round of
    successes)
    an overload                        limit  = limit / 2      (once per round trip: the requests of
    one round fail together)

Source: the additive increase and multiplicative decrease of TCP's congestion avoidance, RFC 5681.
"""

from __future__ import annotations


class AdaptiveConcurrency:
    """The limit in force, from 1 to `limit_max`.

    It starts at the setting: the operator's word holds until the API objects.
    """

    def __init__(self, limit_max: int) -> None:
        if limit_max < 1:
            raise ValueError(f"the limit must be at least 1, not {limit_max}")
        self._max = limit_max
        self._limit = float(limit_max)
        self._round = 0

    @property
    def limit(self) -> int:
        """How many requests may be in flight."""
        return int(self._limit)

    @property
    def round(self) -> int:
        """What a request notes at its start, for `shrink`."""
        return self._round

    def grow(self, *, in_flight: int) -> None:
        """A request succeeded while so many were in flight, itself included."""
        if in_flight >= self.limit:
            self._limit = min(float(self._max), self._limit + 1.0 / self._limit)

    def shrink(self, round_of_start: int) -> None:
        """A request that started in this round met an overload.

        Those of rounds before the last decrease have been counted.
        """
        if round_of_start == self._round:
            self._limit = max(1.0, self._limit / 2.0)
            self._round += 1

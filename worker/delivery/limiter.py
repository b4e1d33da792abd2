"""How many requests may be in flight at once."""

from __future__ import annotations


class Limiter:
    """Permits for posts. A batch that waits for its next attempt holds none: it must not keep others from being sent."""

    def __init__(self, requests_in_flight_max: int) -> None:
        if requests_in_flight_max < 1:
            raise ValueError(f"requests_in_flight_max must be at least 1, not {requests_in_flight_max}")
        self._max = requests_in_flight_max
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many requests are in flight."""
        return self._taken

    @property
    def is_free(self) -> bool:
        """True if one more request may start."""
        return self._taken < self._max

    def take(self) -> None:
        """A request starts."""
        if not self.is_free:
            raise RuntimeError(f"all {self._max} permits are taken")
        self._taken += 1

    def give_back(self) -> None:
        """A request ended, in whatever way."""
        if self._taken == 0:
            raise RuntimeError("no permit is taken")
        self._taken -= 1

"""How much is sent, and when: a rate, a wait between attempts, a number of requests at once.

    Rate                  at most n per second on average
    Backoff               exponential waits with full jitter
    AdaptiveConcurrency   as many requests at once as the API accepts

They know nothing of batches and answers: the limiter, the breaker and the throttles use them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# 2^32 times any sensible start is above any sensible maximum; without a bound the power overflows
# after years of outage.
DOUBLINGS_MAX = 32


class Rate:
    """At most `per_second` units on average; the units of `burst_seconds` may be taken at once.

    A token bucket, kept as the moment up to which everything taken has been paid for:

        take n:   paid_until = max(paid_until, now) + n / per_second
        free:     now >= paid_until - burst_seconds

    `take` may take more than is free, because a batch is sent as a whole. Then the next request
    waits longer, so that the average holds. `per_second` None: no limit.

    Source: the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371.
    """

    def __init__(self, per_second: float | None, *, burst_seconds: float = 1.0) -> None:
        self._per_second = per_second
        self._burst_seconds = burst_seconds
        self._paid_until = -math.inf

    @property
    def free_at(self) -> float:
        """The time from which `take` is allowed, in monotonic seconds."""
        return self._paid_until - self._burst_seconds

    def take(self, count: int, monotonic_seconds: float) -> None:
        """Use this number of units."""
        if self._per_second is not None:
            self._paid_until = max(self._paid_until, monotonic_seconds) + count / self._per_second


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a batch waits before it is sent again: exponential, with full jitter.

        wait = requested by the API + uniform(0, min(max, initial * 2^(attempts-1)))

    Full jitter spreads the retries of many workers evenly, so that an API that has just recovered
    isn't overloaded by all of them at once. It is added to `Retry-After`, which names the same
    moment to all. `uniform` draws from [0, 1). It is an argument, so that a test or a simulation
    decides it.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    initial_seconds: float
    max_seconds: float
    uniform: Callable[[], float]

    def wait_seconds(self, *, attempts: int, wait_seconds_min: float) -> float:
        """The wait after this many consecutive failures, `attempts` (at least 1).

        It lies in [wait_seconds_min, wait_seconds_min + max_seconds].
        """
        ceiling = min(
            self.max_seconds, self.initial_seconds * 2.0 ** min(attempts - 1, DOUBLINGS_MAX)
        )
        return wait_seconds_min + self.uniform() * ceiling


class AdaptiveConcurrency:
    """How many requests the API accepts at once, from 1 to `limit_max`.

        a success with the limit reached   limit += 1 / limit   (one more after a whole round)
        an overload                        limit  = limit / 2   (once per round trip: the requests
                                                                 of one round fail together)

    It starts at the setting, which holds until the API objects.

    Source: the additive increase and multiplicative decrease of TCP's congestion avoidance, RFC
    5681.
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
        """The number of the current round: a request keeps it from its start, for `shrink`."""
        return self._round

    def grow(self, *, in_flight: int) -> None:
        """A request succeeded while `in_flight` were under way, itself included."""
        if in_flight >= self.limit:
            self._limit = min(float(self._max), self._limit + 1.0 / self._limit)

    def shrink(self, round_of_start: int) -> None:
        """A request that started in this round met an overload.

        Overloads of rounds before the last decrease have been counted by it.
        """
        if round_of_start == self._round:
            self._limit = max(1.0, self._limit / 2.0)
            self._round += 1

"""How long a batch waits before it is sent again: exponential, with full jitter, beyond what the
API asks for.

    wait = asked by the API + uniform(0, min(max, initial * 2^(attempts-1)))

Full jitter spreads the retries of many workers evenly, so that an API that comes back isn't knocked
over by them all at once. It comes on top of `Retry-After`, which names the same moment to all.
Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# 2^32 times any sensible start is above any sensible maximum; without a bound the power overflows
# after years of outage.
DOUBLINGS_MAX = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """The curve.

    `uniform` draws from [0, 1): chance is an argument, so that a test or a simulation decides it.
    """

    initial_seconds: float
    max_seconds: float
    uniform: Callable[[], float]

    def wait_seconds(self, *, attempts: int, wait_seconds_min: float) -> float:
        """The wait after the `attempts`-th failure in a row (counted from 1), in [wait_seconds_min,
        that + max_seconds].
        """
        ceiling = min(
            self.max_seconds, self.initial_seconds * 2.0 ** min(attempts - 1, DOUBLINGS_MAX)
        )
        return wait_seconds_min + self.uniform() * ceiling

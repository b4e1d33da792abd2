"""How fast: a token bucket, kept as the moment up to which everything taken has been paid for.

    take n:   paid_until = max(paid_until, now) + n / per_second
    free:     now >= paid_until - burst_seconds

Taking may overdraw (a batch has as many rows as it has); the next taker then waits longer, so that
the mean holds. Source: the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371.
"""

from __future__ import annotations

import math


class Rate:
    """At most `per_second` units in the mean, with `burst_seconds` worth of them at once.

    None: no limit.
    """

    def __init__(self, per_second: float | None, *, burst_seconds: float = 1.0) -> None:
        self._per_second = per_second
        self._burst_seconds = burst_seconds
        self._paid_until = -math.inf

    @property
    def free_at(self) -> float:
        """From when on `take` is allowed, in monotonic seconds."""
        return self._paid_until - self._burst_seconds

    def take(self, count: int, monotonic_seconds: float) -> None:
        """So many units are used."""
        if self._per_second is not None:
            self._paid_until = max(self._paid_until, monotonic_seconds) + count / self._per_second

"""The breaker of the destination: when it doesn't work at all, one request asks whether it does
again, instead of all of them.

    CLOSED ── failures in a row ──► OPEN ── its wait is over ──► PROBING ── success ──► RAMPING 1,
    2, 4 … ──► CLOSED
                                     ▲                             │ failure               │ failure
                                     └─────────────────────────────┴───────────────────────┘

A failure is a connection that wasn't made, a time-out, a 5xx. Any other answer shows that the
destination is there: a refused row, a wrong key or too many requests say nothing against it.
Source: the pattern of that name in M. Nygard, "Release It!"; the ramp keeps a destination that has
just come back from being knocked over by all that has waited.
"""

from __future__ import annotations

from enum import StrEnum

from worker.core.delivery.backoff import Backoff


class BreakerState(StrEnum):
    """Closed is healthy: requests pass."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"
    RAMPING = "ramping"


class Breaker:
    """One destination's breaker.

    Args:
        failures_max: so many failures in a row open it.
        permits_max: a ramp that has come this far closes it.
        backoff: the wait before each probe.
    """

    def __init__(self, *, failures_max: int, permits_max: int, backoff: Backoff) -> None:
        self._failures_max = failures_max
        self._permits_max = permits_max
        self._backoff = backoff
        self._failures = 0
        self._openings = 0
        self._permits = 0
        self._successes = 0
        self.state = BreakerState.CLOSED
        self.due_seconds = 0.0

    @property
    def permits(self) -> int:
        """How many requests may be in flight besides what `due_seconds` says of an open one."""
        match self.state:
            case BreakerState.CLOSED:
                return self._permits_max
            case BreakerState.RAMPING:
                return self._permits
            case _:
                return 0

    def probe(self) -> None:
        """An open breaker's wait is over, and a request asks."""
        self.state = BreakerState.PROBING

    def succeed(self) -> None:
        """The destination answered."""
        self._failures = 0
        match self.state:
            case BreakerState.OPEN | BreakerState.PROBING:
                self.state, self._permits, self._successes = BreakerState.RAMPING, 1, 0
            case BreakerState.RAMPING:
                self._successes += 1
                if self._successes >= self._permits:
                    self._permits, self._successes = self._permits * 2, 0
                if self._permits >= self._permits_max:
                    self.state, self._openings = BreakerState.CLOSED, 0
            case BreakerState.CLOSED:
                pass

    def fail(self, monotonic_seconds: float, *, wait_seconds_min: float, is_probe: bool) -> None:
        """A request failed.

        What was still under way when it opened only makes the wait longer where the answer asks for
        it.
        """
        match self.state:
            case BreakerState.CLOSED:
                self._failures += 1
                if self._failures >= self._failures_max:
                    self._open(monotonic_seconds, wait_seconds_min)
            case BreakerState.RAMPING:
                self._open(monotonic_seconds, wait_seconds_min)
            case BreakerState.PROBING:
                if is_probe:
                    self._open(monotonic_seconds, wait_seconds_min)
            case BreakerState.OPEN:
                self.due_seconds = max(self.due_seconds, monotonic_seconds + wait_seconds_min)

    def _open(self, monotonic_seconds: float, wait_seconds_min: float) -> None:
        self._openings += 1
        self.state = BreakerState.OPEN
        wait = self._backoff.wait_seconds(
            attempts=self._openings, wait_seconds_min=wait_seconds_min
        )
        self.due_seconds = monotonic_seconds + wait

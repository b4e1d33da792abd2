"""A circuit breaker: while requests fail, a single request at a time is sent as a probe.

The worker has one for the API, and one for each throttled application.

    CLOSED ─ some failures ──────► OPEN ─ its wait is over ─► PROBING ─ success ─► RAMPING ─► CLOSED
                                   ▲                            │ failure            │ failure
                                   └────────────────────────────┴────────────────────┘

Failures of the API are a connection that wasn't made, a time-out, a 5xx. Any other answer shows
that the API works, such as a refused row, a wrong key or too many requests. The ramp (1, 2, 4 …
requests in flight) protects an API that has just recovered from all the batches that have waited.

Source: the pattern of that name in M. Nygard, "Release It!".
"""

from __future__ import annotations

from enum import StrEnum

from worker.core.delivery.flow_control import Backoff


class BreakerState(StrEnum):
    """Closed is healthy: requests pass."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"
    RAMPING = "ramping"


class Breaker:
    """The breaker of the API, or of a throttled application.

    Args:
        failures_max: the number of consecutive failures that opens it.
        permits_max: the number of requests in flight at which a ramp ends.
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
        # The time at which it opened after it was last closed.
        self.opened_seconds = 0.0

    @property
    def permits(self) -> int:
        """How many requests may be in flight; an open breaker admits one from `due_seconds` on."""
        match self.state:
            case BreakerState.CLOSED:
                return self._permits_max
            case BreakerState.RAMPING:
                return self._permits
            case _:
                return 0

    def probe(self) -> None:
        """Begin a probe: the wait of the open breaker is over, and a request starts."""
        self.state = BreakerState.PROBING

    def succeed(self) -> None:
        """Count an answer that shows that the API works."""
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

        A failure of a request that was under way when the breaker opened makes the wait longer only
        where the answer asks for it.
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
        if self._openings == 0:
            self.opened_seconds = monotonic_seconds
        self._openings += 1
        self.state = BreakerState.OPEN
        wait = self._backoff.wait_seconds(
            attempts=self._openings, wait_seconds_min=wait_seconds_min
        )
        self.due_seconds = monotonic_seconds + wait

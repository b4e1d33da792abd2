"""Whether one more request may start: in flight, as often, and as much as the API bears.

Three rules behind one question: `concurrency` (how many at once), `breaker` (whether the
destination works at all) and `rate` (what the operator allows per second). A batch that waits for
its next attempt holds no permit: it must not keep others from being sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.delivery.backoff import Backoff
from worker.core.delivery.breaker import Breaker, BreakerState
from worker.core.delivery.concurrency import AdaptiveConcurrency
from worker.core.delivery.outcome import AMBIGUOUS, Delivered, Outcome, Retry, RetryKind
from worker.core.delivery.rate import Rate

OVERLOADS = frozenset({RetryKind.THROTTLED, RetryKind.FAILED}) | AMBIGUOUS
DESTINATION_FAULTS = frozenset({RetryKind.FAILED, RetryKind.NOT_SENT}) | AMBIGUOUS


@dataclass(frozen=True, slots=True)
class LimiterRules:
    """The bounds. None: no limit."""

    requests_in_flight_max: int
    breaker_failures_max: int
    requests_per_second_max: float | None = None
    rows_per_second_max: float | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """One request's leave to be in flight. `is_probe`: it asks for an open breaker."""

    round_of_start: int
    is_probe: bool


class Limiter:
    """Permits for posts to one destination."""

    def __init__(self, rules: LimiterRules, backoff: Backoff) -> None:
        self._concurrency = AdaptiveConcurrency(rules.requests_in_flight_max)
        self._breaker = Breaker(
            failures_max=rules.breaker_failures_max,
            permits_max=rules.requests_in_flight_max,
            backoff=backoff,
        )
        self._requests = Rate(rules.requests_per_second_max)
        self._rows = Rate(rules.rows_per_second_max)
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many requests are in flight."""
        return self._taken

    @property
    def limit(self) -> int:
        """How many may be at present."""
        return self._concurrency.limit

    @property
    def permits(self) -> int:
        """How many may be at present, also by the breaker, while that ramps up."""
        return min(self._breaker.permits, self._concurrency.limit)

    @property
    def breaker_state(self) -> BreakerState:
        """How the destination's breaker stands."""
        return self._breaker.state

    def free_at(self) -> float | None:
        """From when on a request may start, in monotonic seconds; None: an answer has to come
        first.
        """
        paced = max(self._requests.free_at, self._rows.free_at)
        if self._breaker.state is BreakerState.OPEN:
            return max(paced, self._breaker.due_seconds)
        return paced if self._taken < self.permits else None

    def is_free(self, monotonic_seconds: float) -> bool:
        """True if one more request may start."""
        free_at = self.free_at()
        return free_at is not None and monotonic_seconds >= free_at

    def take(self, rows: int, monotonic_seconds: float) -> Permit:
        """A request with so many rows starts."""
        if not self.is_free(monotonic_seconds):
            raise RuntimeError(
                f"no permit is free: {self._taken} taken, the breaker is {self._breaker.state}"
            )
        is_probe = self._breaker.state is BreakerState.OPEN
        if is_probe:
            self._breaker.probe()
        self._requests.take(1, monotonic_seconds)
        self._rows.take(rows, monotonic_seconds)
        self._taken += 1
        return Permit(self._concurrency.round, is_probe)

    def give_back(self, permit: Permit, outcome: Outcome, monotonic_seconds: float) -> None:
        """The request ended, in whatever way."""
        if self._taken == 0:
            raise RuntimeError("no permit is taken")
        if isinstance(outcome, Delivered):
            self._concurrency.grow(in_flight=self._taken)
        elif isinstance(outcome, Retry) and outcome.kind in OVERLOADS:
            self._concurrency.shrink(permit.round_of_start)
        if isinstance(outcome, Retry) and outcome.kind in DESTINATION_FAULTS:
            wait = outcome.wait_seconds_min
            self._breaker.fail(monotonic_seconds, wait_seconds_min=wait, is_probe=permit.is_probe)
        else:
            self._breaker.succeed()
        self._taken -= 1

    def release(self, permit: Permit) -> None:
        """The request ended, and what it came to says nothing of the destination: its batch alone
        fails.
        """
        if permit.is_probe:
            raise RuntimeError("a probe of the breaker has to say what it came to")
        self._taken -= 1

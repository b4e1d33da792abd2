"""The requests in flight, and whether one more may start.

Three rules decide: `AdaptiveConcurrency` (how many requests the API accepts at once), `Breaker`
(whether the API works at all) and `Rate` (how many requests and rows the operator allows per
second). A batch that waits for its next attempt holds no permit, so it doesn't delay others.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.counters.snapshot import DestinationStatus
from worker.core.delivery.breaker import Breaker, BreakerState
from worker.core.delivery.flow_control import AdaptiveConcurrency, Backoff, Rate
from worker.core.delivery.outcome import AMBIGUOUS, Delivered, Outcome, Retry, RetryKind
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import Severity, WriteLog

# Failures that show that the API gets too many requests at once.
OVERLOADS = frozenset({RetryKind.THROTTLED, RetryKind.FAILED}) | AMBIGUOUS
# Failures that count against the API in its breaker.
API_FAULTS = frozenset({RetryKind.FAILED, RetryKind.NOT_SENT}) | AMBIGUOUS
# Failures that rows can cause: the API failed over them, or took too long.
ROW_FAILURES = frozenset({RetryKind.FAILED}) | AMBIGUOUS


@dataclass(frozen=True, slots=True)
class LimiterRules:
    """The bounds. None: no limit."""

    requests_in_flight_max: int
    breaker_failures_max: int
    requests_per_second_max: float | None = None
    rows_per_second_max: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The bounds of the whole delivery, as the settings name them.

    `request_seconds`: how long a request may ordinarily take. `ordered`: the topics and resources
    whose rows are sent in order.
    """

    limiter: LimiterRules
    retry_after_seconds_max: float
    hold_probe_seconds: float
    systemic_ratio: float
    systemic_rows_min: int
    bisect_requests_per_minute_max: int
    event_age_seconds_max: int
    request_seconds: float
    ordered: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class _Request:
    """A batch in flight. `is_probe`: the request is the probe of the open breaker."""

    batch: Batch
    round_of_start: int
    is_probe: bool


class Limiter:
    """Every batch from the start of its request to its end, and the permits for further ones."""

    def __init__(self, rules: LimiterRules, backoff: Backoff) -> None:
        self._concurrency = AdaptiveConcurrency(rules.requests_in_flight_max)
        self._breaker = Breaker(
            failures_max=rules.breaker_failures_max,
            permits_max=rules.requests_in_flight_max,
            backoff=backoff,
        )
        self._request_rate = Rate(rules.requests_per_second_max)
        self._row_rate = Rate(rules.rows_per_second_max)
        self._requests: dict[str, _Request] = {}
        self._failure_reason: str | None = None

    def batches(self) -> list[Batch]:
        """The batches in flight."""
        return [request.batch for request in self._requests.values()]

    def status(self, now: Now) -> DestinationStatus:
        """The state of the API, for operators."""
        breaker = self._breaker
        is_open = breaker.state is BreakerState.OPEN
        wait_seconds = max(0.0, breaker.due_seconds - now.monotonic_seconds)
        failed_seconds = now.monotonic_seconds - breaker.opened_seconds
        return DestinationStatus(
            breaker=breaker.state,
            requests_in_flight_limit=self._concurrency.limit,
            requests_in_flight=len(self._requests),
            failing_because=None if self.is_healthy else self._failure_reason,
            failing_since_unix_seconds=None
            if self.is_healthy
            else now.unix_seconds - failed_seconds,
            next_probe_unix_seconds=now.unix_seconds + wait_seconds if is_open else None,
        )

    @property
    def permits(self) -> int:
        """How many requests may be in flight at present."""
        return min(self._breaker.permits, self._concurrency.limit)

    @property
    def is_broken(self) -> bool:
        """True while the next request is a probe of the API."""
        return self._breaker.state is BreakerState.OPEN

    @property
    def is_healthy(self) -> bool:
        """True while the breaker is closed."""
        return self._breaker.state is BreakerState.CLOSED

    def free_at(self) -> float | None:
        """The time from which a request may start, in monotonic seconds.

        None while no request may start before an answer arrives.
        """
        paced = max(self._request_rate.free_at, self._row_rate.free_at)
        if self._breaker.state is BreakerState.OPEN:
            return max(paced, self._breaker.due_seconds)
        return paced if len(self._requests) < self.permits else None

    def is_free(self, monotonic_seconds: float) -> bool:
        """True if one more request may start."""
        free_at = self.free_at()
        return free_at is not None and monotonic_seconds >= free_at

    def start(self, batch: Batch, monotonic_seconds: float) -> None:
        """The request of this batch starts.

        Raises:
            RuntimeError: no permit is free.
        """
        if not self.is_free(monotonic_seconds):
            raise RuntimeError(
                f"no permit is free: {len(self._requests)} taken, the breaker is "
                f"{self._breaker.state}"
            )
        is_probe = self._breaker.state is BreakerState.OPEN
        if is_probe:
            self._breaker.probe()
        self._request_rate.take(1, monotonic_seconds)
        self._row_rate.take(len(batch.rows), monotonic_seconds)
        self._requests[batch.id] = _Request(batch, self._concurrency.round, is_probe)

    def end(
        self, batch_id: str, outcome: Outcome, monotonic_seconds: float
    ) -> tuple[Batch, list[WriteLog]]:
        """A request ended; returns its batch, and the log lines about the API.

        Raises:
            KeyError: it isn't in flight.
        """
        request = self._requests[batch_id]
        before = self._breaker.state
        if isinstance(outcome, Delivered):
            self._concurrency.grow(in_flight=len(self._requests))
        elif isinstance(outcome, Retry) and outcome.kind in OVERLOADS:
            self._concurrency.shrink(request.round_of_start)
        if isinstance(outcome, Retry) and outcome.kind in API_FAULTS:
            wait = outcome.wait_seconds_min
            self._failure_reason = outcome.reason
            self._breaker.fail(monotonic_seconds, wait_seconds_min=wait, is_probe=request.is_probe)
        else:
            self._breaker.succeed()
        del self._requests[batch_id]
        return request.batch, _changes(before, self._breaker.state, outcome)

    def end_suspect(
        self, batch_id: str, outcome: Outcome, monotonic_seconds: float
    ) -> tuple[Batch, list[WriteLog]]:
        """The request of a batch that fails while others are accepted ended, see `suspects`.

        A failure that its rows can cause doesn't count against the API. Any other answer counts as
        for every batch: it shows that the API works, or that it can't be reached.
        """
        request = self._requests[batch_id]
        may_be_the_rows = isinstance(outcome, Retry) and outcome.kind in ROW_FAILURES
        if request.is_probe or not may_be_the_rows:
            return self.end(batch_id, outcome, monotonic_seconds)
        del self._requests[batch_id]
        return request.batch, []


def _changes(before: BreakerState, after: BreakerState, outcome: Outcome) -> list[WriteLog]:
    if before is BreakerState.CLOSED and after is BreakerState.OPEN and isinstance(outcome, Retry):
        return [WriteLog(Severity.ERROR, "breaker_opened", {"reason": outcome.reason})]
    if before is not BreakerState.CLOSED and after is BreakerState.CLOSED:
        return [WriteLog(Severity.INFO, "breaker_closed", {})]
    return []

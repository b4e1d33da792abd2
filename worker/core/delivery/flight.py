"""The requests in flight, and whether one more may start."""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.counters.snapshot import DestinationStatus
from worker.core.delivery.backoff import Backoff
from worker.core.delivery.breaker import BreakerState
from worker.core.delivery.limiter import Limiter, LimiterRules, Permit
from worker.core.delivery.outcome import AMBIGUOUS, Outcome, Retry, RetryKind
from worker.core.model.batch import Batch
from worker.core.model.command import Log, Severity


@dataclass(frozen=True, slots=True)
class _Request:
    batch: Batch
    permit: Permit


class Flight:
    """Every batch from the start of its request to its end, each with its permit."""

    def __init__(self, rules: LimiterRules, backoff: Backoff) -> None:
        self._limiter = Limiter(rules, backoff)
        self._requests: dict[str, _Request] = {}

    def batches(self) -> list[Batch]:
        """What is in flight."""
        return [request.batch for request in self._requests.values()]

    def destination(self) -> DestinationStatus:
        """How the API is doing."""
        return DestinationStatus(
            self._limiter.breaker_state, self._limiter.limit, self._limiter.taken
        )

    def free_at(self) -> float | None:
        """From when on a request may start, in monotonic seconds; None: an answer has to come
        first.
        """
        return self._limiter.free_at()

    def is_free(self, monotonic_seconds: float) -> bool:
        """True if one more request may start."""
        return self._limiter.is_free(monotonic_seconds)

    def start(self, batch: Batch, monotonic_seconds: float) -> None:
        """This batch's request starts."""
        self._requests[batch.id] = _Request(
            batch, self._limiter.take(len(batch.rows), monotonic_seconds)
        )

    @property
    def permits(self) -> int:
        """How many requests may be in flight at present."""
        return self._limiter.permits

    @property
    def is_broken(self) -> bool:
        """True while the next request is the one that asks whether the destination works again."""
        return self._limiter.breaker_state is BreakerState.OPEN

    @property
    def is_healthy(self) -> bool:
        """True while nothing is held against the destination."""
        return self._limiter.breaker_state is BreakerState.CLOSED

    def end_suspect(
        self, batch_id: str, outcome: Outcome, monotonic_seconds: float
    ) -> tuple[Batch, list[Log]]:
        """The request of a batch that fails while others are taken ended: its failures say nothing
        of the destination.

        Any other answer says of the destination what it says for every batch: that it is there, or
        that it can't be reached.
        """
        request = self._requests[batch_id]
        if request.permit.is_probe or not _may_be_the_rows(outcome):
            return self.end(batch_id, outcome, monotonic_seconds)
        del self._requests[batch_id]
        self._limiter.release(request.permit)
        return request.batch, []

    def end(
        self, batch_id: str, outcome: Outcome, monotonic_seconds: float
    ) -> tuple[Batch, list[Log]]:
        """A request ended; returns its batch, and what is to be said of the destination.

        Raises:
            KeyError: it isn't in flight.
        """
        request = self._requests.pop(batch_id)
        before = self._limiter.breaker_state
        self._limiter.give_back(request.permit, outcome, monotonic_seconds)
        after = self._limiter.breaker_state
        logs = []
        if (
            after is BreakerState.OPEN
            and before is BreakerState.CLOSED
            and isinstance(outcome, Retry)
        ):
            logs.append(Log(Severity.ERROR, "breaker_opened", {"reason": outcome.reason}))
        elif after is BreakerState.CLOSED and before is not BreakerState.CLOSED:
            logs.append(Log(Severity.INFO, "breaker_closed", {}))
        return request.batch, logs


def _may_be_the_rows(outcome: Outcome) -> bool:
    """True for a failure that rows can cause: the API failed over them, or took too long."""
    return isinstance(outcome, Retry) and (
        outcome.kind is RetryKind.FAILED or outcome.kind in AMBIGUOUS
    )

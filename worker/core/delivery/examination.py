"""All that is known of a batch but where it is: one owner, so that it goes on with the batch
wherever that goes.

    refused (400, 422)                        `bisect`: halves, then the accused row alone, then a
    second refusal
    failed while others are taken             `suspicion`: strikes, halves, then the row is given up
    no answer in time, and none as large      `pace`: fewer rows to a request, and more time
    what was taken, and when                  `evidence`: all three go by it

A batch may be a piece of a bisection and have failed as well. Whoever replaces a batch by others,
or ends one, says so here, once.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.core.delivery.bisect import Bisections, Verdict
from worker.core.delivery.evidence import NEVER, Attempt, Evidence, lane_of
from worker.core.delivery.outcome import Outcome, Retry, RetryKind
from worker.core.delivery.pace import Pace
from worker.core.delivery.rules import DeliveryRules
from worker.core.delivery.settlement import Refusal
from worker.core.delivery.split import halves
from worker.core.delivery.suspicion import Decision, Failure, Suspicions
from worker.core.model.batch import Batch
from worker.core.model.command import Log, Severity
from worker.core.model.row import Row

FAILURES = {
    RetryKind.FAILED: Failure.FAILED,
    RetryKind.AMBIGUOUS: Failure.FAILED,
    RetryKind.CUT_OFF: Failure.CUT_OFF,
    RetryKind.TIMED_OUT: Failure.TIMED_OUT,
}


class Examination:
    """The state of every batch under examination, and what their applications' requests came to."""

    def __init__(self, rules: DeliveryRules) -> None:
        self._evidence = Evidence()
        self._bisections = Bisections(
            systemic_ratio=rules.systemic_ratio,
            systemic_rows_min=rules.systemic_rows_min,
            evidence=self._evidence,
        )
        self._suspicions = Suspicions(self._evidence)
        self._pace = Pace(rules.request_seconds)

    # --- requests ---------------------------------------------------------------------------------

    def start(self, batch: Batch) -> None:
        """The request of this batch starts."""
        self._evidence.start(batch)

    def end_attempt(self, batch_id: str) -> Attempt:
        """The request of this batch ended."""
        return self._evidence.end(batch_id)

    def deliver(
        self, batch: Batch, attempt: Attempt, duration_seconds: float
    ) -> tuple[tuple[Refusal, ...], list[Log]]:
        """It was taken.

        Returns the rows of its bisection that are known to be guilty now, and what is to be logged.
        """
        self._evidence.accept(batch, attempt)
        self._suspicions.accept(batch)
        logs = []
        if self._pace.speed_up(lane_of(batch), len(batch.rows), duration_seconds):
            logs.append(Log(Severity.INFO, "request_size_restored", _fields(batch)))
        return self._bisections.deliver(batch), logs

    def refuse(self, batch: Batch, refusal: Refusal, attempt: Attempt) -> Verdict:
        """It was refused, for what its rows are."""
        self._suspicions.forget(batch.id)
        return self._bisections.refuse(batch, refusal, attempt)

    def fail(
        self, batch: Batch, outcome: Outcome | None, attempt: Attempt
    ) -> tuple[Decision, list[Log]]:
        """It failed. Returns what becomes of it, and what is to be logged."""
        # Who forbids a request may have read its rows.
        failure = (
            FAILURES.get(outcome.kind, Failure.NEUTRAL)
            if isinstance(outcome, Retry)
            else Failure.FAILED
        )
        was_suspect = self._suspicions.is_suspect(batch.id)
        decision = self._suspicions.fail(batch, failure, attempt)
        if decision is Decision.RETRY_SMALLER and self._pace.slow_down(
            lane_of(batch), len(batch.rows), attempt
        ):
            bounds = {"rows_max": self.rows_max(batch), "time_factor": self.time_factor(batch)}
            return decision, [
                Log(Severity.WARNING, "request_size_reduced", _fields(batch) | bounds)
            ]
        if decision is Decision.HALVE and not was_suspect:
            return decision, [
                Log(Severity.WARNING, "batch_suspected", _fields(batch) | {"rows": len(batch.rows)})
            ]
        return decision, []

    # --- what is known ----------------------------------------------------------------------------

    def concerns(self, batch_id: str) -> bool:
        """True if this batch is a piece of one that is being taken apart."""
        return self._bisections.concerns(batch_id) or self._suspicions.is_suspect(batch_id)

    def is_suspect(self, batch_id: str) -> bool:
        """True if this batch fails while others are taken."""
        return self._suspicions.is_suspect(batch_id)

    def is_alone(self, batch_id: str) -> bool:
        """True if this batch fails and nothing else was taken meanwhile."""
        return self._suspicions.is_alone(batch_id)

    def is_fault_general(self, application_id: int) -> bool:
        """True if it isn't one batch that fails: nothing of the application was ever taken, or not
        for several failures.
        """
        return self._evidence.newest_accepted(
            application_id
        ) == NEVER or self._suspicions.is_general(application_id)

    def failures(self, batch_id: str) -> int:
        """How often this batch has failed in a row."""
        return self._suspicions.failures(batch_id)

    def strikes(self, batch_id: str) -> int:
        """How often this batch has failed while others were taken."""
        return self._suspicions.strikes(batch_id)

    def may_be_asked_again(self, batch: Batch) -> bool:
        """True if a second refusal of this accused row would show that it is guilty."""
        return self._bisections.may_be_asked_again(batch)

    def rows_max(self, batch: Batch) -> int:
        """How many rows a request of this batch's kind may have at present."""
        return self._pace.rows_max(lane_of(batch))

    def time_factor(self, batch: Batch) -> int:
        """By how much longer than ordinarily a request of this batch's kind may take at present."""
        return self._pace.time_factor(lane_of(batch))

    # --- batches that change ----------------------------------------------------------------------

    def halve(self, batch: Batch) -> tuple[Batch, Batch]:
        """This suspect goes on as its halves."""
        pieces = halves(batch)
        self._suspicions.halve(batch.id, *pieces)
        self._bisections.replace(batch.id, *pieces)
        return pieces

    def split(self, batch: Batch) -> tuple[Batch, Batch]:
        """This batch is too large, and goes on as its halves, as if they had never been sent."""
        pieces = halves(batch)
        self._suspicions.forget(batch.id)
        self._bisections.replace(batch.id, *pieces)
        return pieces

    def replace(self, batch_id: str, *successors: Batch) -> None:
        """This batch goes on as others: it has lost rows, or was split for its size."""
        self._suspicions.replace(batch_id, *successors)
        self._bisections.replace(batch_id, *successors)

    def end(self, batch_id: str) -> tuple[Refusal, ...]:
        """This batch came to another end (expired, given back).

        Returns the rows of its bisection known to be guilty now.
        """
        self._suspicions.forget(batch_id)
        return self._bisections.end(batch_id)

    def withdraw_guilty(self, is_out: Callable[[Row], bool]) -> list[Row]:
        """Take the guilty rows that wait for the rest of their batch, of partitions that are no
        longer ours; return them.
        """
        return self._bisections.withdraw_guilty(is_out)


def _fields(batch: Batch) -> dict[str, str | int | float]:
    return {
        "application_id": batch.destination.application_id,
        "resource": batch.destination.resource,
    }

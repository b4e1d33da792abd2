"""Finds out which batches and rows are the cause of refusals and failures.

    refused (400, 422)                     `bisection`: halves, then the unproven row, then a second
                                           refusal
    failed while others are accepted       `suspects`: halves, then lone failures, then given up
    no answer in time, and no request as   `request_size`: fewer rows to a request, and more time
    large was accepted
    accepted requests, and when            `request_history`: the others decide with it

A batch may be a piece of a bisection and have failed as well. A batch that loses rows or is split
has successors with new ids, to which everything known about it has to be passed on: so batches are
changed here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from worker.core.delivery import settlement
from worker.core.delivery.bisection import Bisections, Finding
from worker.core.delivery.outcome import Outcome, Retry, RetryKind
from worker.core.delivery.request_history import NEVER, RequestHistory, RequestMoments, lane_of
from worker.core.delivery.request_size import RequestSizes
from worker.core.delivery.settlement import RefusedRow
from worker.core.delivery.suspects import Decision, Failure, Suspects
from worker.core.model.batch import Batch
from worker.core.model.command import Severity, WriteLog
from worker.core.model.row import Row

FAILURES = {
    RetryKind.FAILED: Failure.FAILED,
    RetryKind.AMBIGUOUS: Failure.FAILED,
    RetryKind.CUT_OFF: Failure.CUT_OFF,
    RetryKind.TIMED_OUT: Failure.TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class Remainder:
    """A batch without some of its rows.

    `kept` is None if none is left; `out` are the rows that left; `bad_rows` are those of its
    bisection that are given up with it.
    """

    kept: Batch | None
    out: tuple[Row, ...] = ()
    bad_rows: tuple[RefusedRow, ...] = ()


class FaultIsolation:
    """Owns the facts about every batch that was refused or failed.

    `suspects` may be read from outside; only this object changes it.
    """

    def __init__(
        self, *, systemic_ratio: float, systemic_rows_min: int, request_seconds: float
    ) -> None:
        self.suspects = Suspects()
        self._history = RequestHistory()
        self._bisections = Bisections(
            systemic_ratio=systemic_ratio, systemic_rows_min=systemic_rows_min
        )
        self._sizes = RequestSizes(request_seconds)

    # --- requests ---------------------------------------------------------------------------------

    def start(self, batch: Batch) -> None:
        """The request of this batch starts."""
        self._history.start(batch)

    def end_request(self, batch_id: str) -> RequestMoments:
        """The request of this batch ended."""
        return self._history.end(batch_id)

    def deliver(
        self, batch: Batch, request: RequestMoments, duration_seconds: float
    ) -> tuple[tuple[RefusedRow, ...], list[WriteLog]]:
        """This batch was accepted.

        Returns the rows of its bisection that are given up now, and what is to be logged.
        """
        self._history.accept(batch, request)
        self.suspects.accept(batch)
        logs = []
        if self._sizes.speed_up(lane_of(batch), len(batch.rows), duration_seconds):
            logs.append(WriteLog(Severity.INFO, "request_size_restored", _fields(batch)))
        return self._bisections.deliver(batch), logs

    def refuse(self, batch: Batch, refusal: RefusedRow, request: RequestMoments) -> Finding:
        """This batch was refused because of its rows."""
        self.suspects.forget(batch.id)
        return self._bisections.refuse(batch, refusal, request)

    def fail(
        self, batch: Batch, outcome: Outcome, request: RequestMoments
    ) -> tuple[Decision, list[WriteLog]]:
        """This batch failed. Returns the next step, and what is to be logged."""
        # The API, or a firewall, may have answered 403 because of the rows.
        failure = (
            FAILURES.get(outcome.kind, Failure.NEUTRAL)
            if isinstance(outcome, Retry)
            else Failure.FAILED
        )
        was_suspect = self.suspects.is_suspect(batch.id)
        assessment = self.suspects.fail(batch, failure, request, self._history)
        if assessment.counts_against_others:
            self._history.fail(batch.destination.application_id)
        decision = assessment.decision
        if decision is Decision.RETRY_SMALLER and self._sizes.slow_down(
            lane_of(batch), len(batch.rows), request
        ):
            bounds = {"rows_max": self.rows_max(batch), "time_factor": self.time_factor(batch)}
            fields = _fields(batch) | bounds
            return decision, [WriteLog(Severity.WARNING, "request_size_reduced", fields)]
        if decision is Decision.HALVE and not was_suspect:
            fields = _fields(batch) | {"rows": len(batch.rows)}
            return decision, [WriteLog(Severity.WARNING, "batch_suspected", fields)]
        return decision, []

    # --- what is known ----------------------------------------------------------------------------

    def concerns(self, batch_id: str) -> bool:
        """True if this batch is a piece of one that is being taken apart."""
        return self._bisections.concerns(batch_id) or self.suspects.is_suspect(batch_id)

    def is_general(self, application_id: int) -> bool:
        """True if a failure concerns the application, not one batch.

        No request of the application was ever accepted, or none since several failures.
        """
        return self._history.newest_accepted(application_id) == NEVER or self.suspects.is_general(
            application_id
        )

    def may_be_sent_again(self, batch: Batch) -> bool:
        """True if a second refusal of this unproven row would prove it bad."""
        newest_accepted = self._history.newest_accepted(batch.destination.application_id)
        return self._bisections.may_be_sent_again(batch, newest_accepted)

    def rows_max(self, batch: Batch) -> int:
        """How many rows a request of this batch's lane may have at present."""
        return self._sizes.rows_max(lane_of(batch))

    def time_factor(self, batch: Batch) -> int:
        """The factor by which a request of this batch's lane may take longer at present."""
        return self._sizes.time_factor(lane_of(batch))

    def is_any_untouched(self, application_id: int, batches: Iterable[Batch]) -> bool:
        """True if one of these batches is of this application, has not failed, and isn't suspect.

        Batches that failed don't count: two that wait for each other would wait for ever.
        """
        return any(
            other.destination.application_id == application_id
            and not self.suspects.failures(other.id)
            and not self.suspects.is_suspect(other.id)
            for other in batches
        )

    # --- batches that change ----------------------------------------------------------------------

    def halve(self, batch: Batch) -> tuple[Batch, Batch]:
        """Replace this suspect by its halves."""
        pieces = settlement.halves(batch)
        self.suspects.halve(batch.id, *pieces)
        self._bisections.replace(batch.id, *pieces)
        return pieces

    def split(self, batch: Batch) -> tuple[Batch, Batch]:
        """Replace this batch, which is too large, by its halves, as if they were never sent."""
        pieces = settlement.halves(batch)
        self.suspects.forget(batch.id)
        self._bisections.replace(batch.id, *pieces)
        return pieces

    def first_rows_apart(self, batch: Batch, rows: int) -> tuple[Batch, Batch]:
        """Replace this batch by one of its first rows and one of the others."""
        first, rest = settlement.first_rows_apart(batch, rows)
        self._replace(batch.id, first, rest)
        return first, rest

    def without(self, batch: Batch, is_out: Callable[[Row], bool]) -> Remainder:
        """Take rows out of this batch; it stays itself if it loses none."""
        kept, out = settlement.without(batch, is_out, "kept")
        if kept is None:
            return Remainder(None, out, self.end(batch.id))
        if kept is not batch:
            self._replace(batch.id, kept)
        return Remainder(kept, out)

    def set_apart(
        self, batch: Batch, is_out: Callable[[Row], bool]
    ) -> tuple[Batch | None, Batch | None]:
        """Replace this batch by one without these rows and one of these rows; None for no rows."""
        kept, out = settlement.without(batch, is_out, "kept")
        if kept is None:
            return None, batch
        if kept is batch:
            return batch, None
        apart = settlement.piece(batch, out, "apart")
        self._replace(batch.id, kept, apart)
        return kept, apart

    def end(self, batch_id: str) -> tuple[RefusedRow, ...]:
        """This batch came to another end (expired, given back).

        Returns the rows of its bisection that are given up now.
        """
        self.suspects.forget(batch_id)
        return self._bisections.end(batch_id)

    def take_bad_rows(self, is_out: Callable[[Row], bool]) -> list[RefusedRow]:
        """Take out some of the bad rows that wait for the rest of their batch."""
        return self._bisections.take_bad_rows(is_out)

    def _replace(self, batch_id: str, *successors: Batch) -> None:
        self.suspects.replace(batch_id, *successors)
        self._bisections.replace(batch_id, *successors)


def _fields(batch: Batch) -> dict[str, str | int | float]:
    return {
        "application_id": batch.destination.application_id,
        "resource": batch.destination.resource,
    }

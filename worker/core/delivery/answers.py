"""What becomes of a batch when its request has ended: it is settled, sent again, taken apart, held,
or given up.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from worker.core.delivery.backlog import Backlog, Places
from worker.core.delivery.backoff import Backoff
from worker.core.delivery.bisect import Finding
from worker.core.delivery.evidence import Attempt
from worker.core.delivery.examination import Examination
from worker.core.delivery.flight import Flight
from worker.core.delivery.hold import SYSTEMIC
from worker.core.delivery.outcome import (
    Delivered,
    Held,
    Refused,
    Retry,
    RetryKind,
    TooLarge,
    wait_seconds_min,
)
from worker.core.delivery.settlement import Refusal, Settlement, failure_of, refusal_of
from worker.core.delivery.split import piece
from worker.core.delivery.suspicion import Decision
from worker.core.model.answer import Answer, NotSent
from worker.core.model.batch import Batch
from worker.core.model.clock import Now


class Answers:
    """Moves batches by what their requests came to.

    Args:
        places: where they wait.
        backlog: puts them there.
        flight: how the destination is doing.
        examination: what each is suspected of.
        backoff: the waits between attempts.
    """

    def __init__(
        self,
        places: Places,
        backlog: Backlog,
        flight: Flight,
        examination: Examination,
        backoff: Backoff,
    ) -> None:
        self._queue = places.queue
        self._holds = places.holds
        self._throttles = places.throttles
        self._backlog = backlog
        self._flight = flight
        self._examination = examination
        self._backoff = backoff

    def judge(
        self, batch: Batch, answer: Answer, attempt: Attempt, now: Now, settlement: Settlement
    ) -> None:
        """The request of this batch ended with the settlement's outcome."""
        match settlement.outcome:
            case Delivered():
                self._delivered(batch, attempt, answer, settlement)
            case Refused(status=status):
                self._refused(batch, refusal_of(batch, status, answer), attempt, now, settlement)
            case TooLarge():
                self._too_large(batch, refusal_of(batch, 413, answer), now, settlement)
            case Retry() | Held():
                self._failed(batch, answer, attempt, now, settlement)
            case None:
                raise RuntimeError(f"batch {batch.id} has no outcome")
        # After each answer: the last one that could have judged them may have been this.
        quarantined = self._backlog.quarantined(batch.destination.application_id)
        if quarantined and not self._has_others(batch.destination.application_id):
            self._ask_for_others(quarantined, settlement)

    def _delivered(
        self, batch: Batch, attempt: Attempt, answer: Answer, settlement: Settlement
    ) -> None:
        application_id = batch.destination.application_id
        settlement.delivered.extend(batch.rows)
        bad_rows, logs = self._examination.deliver(batch, attempt, answer.duration_seconds)
        settlement.refused.extend(bad_rows)
        settlement.logs.extend(logs)
        if self._holds.is_probe(batch) or self._holds.is_disproved(application_id, attempt.started):
            self._backlog.heal(application_id, settlement)
        self._backlog.release_quarantined(application_id)

    def _refused(
        self, batch: Batch, refusal: Refusal, attempt: Attempt, now: Now, settlement: Settlement
    ) -> None:
        application_id = batch.destination.application_id
        if self._holds.reason(application_id) == SYSTEMIC:
            self._backlog.wait_for_probe(batch, now, settlement)
            self._ask_for_others((batch,), settlement)
            return
        if self._holds.is_probe(batch):
            # The API reads the rows again and finds fault with them: what the hold was for is over.
            self._backlog.heal(application_id, settlement)
        kept = self._backlog.that_may_be_sent(batch, settlement)
        if kept is None:
            return
        if kept is not batch:
            # Rows have left with their partition; whether the rest would be refused is not known,
            # so it is sent again.
            self._queue.put_first(kept)
            return
        verdict = self._examination.refuse(batch, refusal, attempt)
        self._queue.put_first(*verdict.pieces)
        settlement.refused.extend(verdict.bad_rows)
        if verdict.finding is Finding.ACCUSED:
            self._backlog.quarantine(batch, now.monotonic_seconds, settlement)
        elif verdict.finding is Finding.SYSTEMIC:
            rows = (*verdict.released, *batch.rows)
            self._backlog.hold_systemically(
                application_id, (piece(batch, rows, "refused"),), now, settlement
            )

    def _too_large(self, batch: Batch, refusal: Refusal, now: Now, settlement: Settlement) -> None:
        if self._holds.is_probe(batch):
            self._backlog.heal(batch.destination.application_id, settlement)
        kept = self._backlog.that_may_be_sent(batch, settlement)
        if kept is None:
            return
        if len(kept.rows) > 1:
            self._queue.put_first(*self._examination.split(kept))
            return
        settlement.refused.append(refusal)
        settlement.refused.extend(self._examination.end(kept.id))

    def _failed(
        self, batch: Batch, answer: Answer, attempt: Attempt, now: Now, settlement: Settlement
    ) -> None:
        """It wasn't taken, and its rows weren't judged: is it the API, the application, or this
        very batch?
        """
        application_id = batch.destination.application_id
        outcome = settlement.outcome
        decision, logs = self._examination.fail(batch, outcome, attempt)
        settlement.logs.extend(logs)
        is_held = self._holds.reason(application_id) is not None
        is_general = isinstance(answer, NotSent) or self._examination.is_fault_general(
            application_id
        )
        if isinstance(outcome, Held) and (is_held or is_general):
            self._backlog.hold(
                application_id, outcome.reason, now, settlement, forbidden_at=attempt.started
            )
            self._backlog.wait_for_probe(batch, now, settlement)
        elif self._holds.is_probe(batch):
            self._backlog.wait_for_probe(batch, now, settlement)
        elif (kept := self._backlog.that_may_wait(batch, settlement)) is not None:
            self._go_on(kept, decision, answer, now, settlement)

    def _go_on(
        self, batch: Batch, decision: Decision, answer: Answer, now: Now, settlement: Settlement
    ) -> None:
        if decision is Decision.HALVE and len(batch.rows) > 1:
            self._queue.put_first(*self._examination.halve(batch))
        elif decision is Decision.GIVE_UP:
            settlement.refused.append(
                failure_of(batch, self._examination.strikes(batch.id), answer)
            )
            settlement.refused.extend(self._examination.end(batch.id))
        elif (
            isinstance(settlement.outcome, Retry) and settlement.outcome.kind is RetryKind.THROTTLED
        ):
            self._throttles.wait_first(batch)
        else:
            attempts = self._examination.failures(batch.id)
            wait = self._backoff.wait_seconds(
                attempts=attempts, wait_seconds_min=wait_seconds_min(settlement.outcome)
            )
            for part in (
                self._examination.split(batch)
                if decision is Decision.SPLIT and len(batch.rows) > 1
                else (batch,)
            ):
                self._queue.delay(part, now.monotonic_seconds + wait)
                if self._examination.is_alone(part.id):
                    self._ask_for_others((part,), settlement)

    def _ask_for_others(self, batches: Iterable[Batch], settlement: Settlement) -> None:
        """These can't be judged before others of their application are taken; where the destination
        fails, nothing can.

        But where all that is at hand has failed again and again, the destination may only seem to
        fail: a row that makes the API fail has opened the breaker, and nothing is left that could
        close it.
        """
        if self._flight.is_healthy or self._are_all_alone():
            settlement.lonely.update(row.assignment for batch in batches for row in batch.rows)

    def _are_all_alone(self) -> bool:
        """True if nothing is at hand that could show whether the destination works."""
        return all(
            self._examination.is_alone(one.id)
            for one in chain(self._flight.batches(), self._queue.batches())
        )

    def _has_others(self, application_id: int) -> bool:
        """True if something of this application is being sent, or is about to be, that hasn't
        failed.

        What has failed doesn't count: two that wait for each other would wait for ever.
        """
        return any(
            other.destination.application_id == application_id
            and not self._examination.failures(other.id)
            and not self._examination.is_suspect(other.id)
            for other in chain(self._flight.batches(), self._queue.ready())
        )

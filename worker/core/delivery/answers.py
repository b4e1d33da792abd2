"""Moves a batch on when its request has ended: settled, sent again, split, held or given up.

These functions have no state: they move the batch to the place where it waits next, and put the
rows that leave into the settlement. Each returns the batches that can't be decided on before other
rows of their application are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from worker.core.delivery.bisection import Halved, ProvenBad, Systemic, Unproven
from worker.core.delivery.holds import SYSTEMIC
from worker.core.delivery.outcome import (
    Delivered,
    Held,
    Outcome,
    Refused,
    Retry,
    RetryKind,
    TooLarge,
    wait_seconds_min,
)
from worker.core.delivery.request_history import RequestMoments
from worker.core.delivery.settlement import Settlement, failed_alone, piece, refused_by_api
from worker.core.delivery.subjects import is_older_than
from worker.core.delivery.suspects import Decision
from worker.core.delivery.waiting import WaitingBatches
from worker.core.model.answer import Answer, NotSent
from worker.core.model.batch import Batch
from worker.core.model.clock import Now


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A request that ended now: its batch, its answer, and what that means."""

    batch: Batch
    answer: Answer
    outcome: Outcome
    moments: RequestMoments
    now: Now

    @property
    def application_id(self) -> int:
        """The application of the batch."""
        return self.batch.destination.application_id


def settle(ended: EndedRequest, waiting: WaitingBatches, settlement: Settlement) -> list[Batch]:
    """Settle the batch, or move it to the place where it waits next, by its outcome."""
    match ended.outcome:
        case Delivered():
            return _delivered(ended, waiting, settlement)
        case Refused(status=status):
            return _refused(ended, status, waiting, settlement)
        case TooLarge(status=status):
            return _too_large(ended, status, waiting, settlement)
        case Retry() | Held() as outcome:
            return _failed(ended, outcome, waiting, settlement)
        case _:
            assert_never(ended.outcome)


def _delivered(ended: EndedRequest, waiting: WaitingBatches, settlement: Settlement) -> list[Batch]:
    batch, application_id, holds = ended.batch, ended.application_id, waiting.holds
    settlement.delivered.append(batch)
    bad_rows, logs = waiting.isolation.deliver(batch, ended.moments, ended.answer.duration_seconds)
    settlement.refused.extend(bad_rows)
    settlement.logs.extend(logs)
    if waiting.ordered.has_order(batch):
        # Older bad rows of the same subjects are given up now. If the cause turned out not to be in
        # the rows, they would be sent again, after this newer row.
        settlement.refused.extend(waiting.isolation.take_bad_rows(is_older_than(batch)))
    if holds.is_probe(batch) or holds.is_disproved(application_id, ended.moments.started):
        waiting.heal(application_id, settlement)
    released = waiting.quarantine.release(application_id, waiting.isolation.may_be_sent_again)
    waiting.put_first(*released)
    return []


def _refused(
    ended: EndedRequest, status: int, waiting: WaitingBatches, settlement: Settlement
) -> list[Batch]:
    batch, application_id = ended.batch, ended.application_id
    if waiting.holds.reason(application_id) == SYSTEMIC:
        waiting.hold_turns.end_probe(batch, ended.outcome, ended.now, settlement)
        return [batch]
    if waiting.holds.is_probe(batch):
        # The API reads the rows again and refuses them: the reason of the hold is gone.
        waiting.heal(application_id, settlement)
    kept = waiting.row_filter.that_may_be_sent(batch, settlement)
    if kept is not batch:
        # Rows have left with their partition. The API may accept the rest, so the rest is sent
        # again.
        waiting.put_first(*([] if kept is None else [kept]))
        return []
    refusal = refused_by_api(batch, status, ended.answer)
    match waiting.isolation.refuse(batch, refusal, ended.moments):
        case Halved(pieces=pieces):
            waiting.put_first(*pieces)
        case ProvenBad(bad_rows=bad_rows):
            settlement.refused.extend(bad_rows)
        case Unproven(bad_rows=bad_rows):
            settlement.refused.extend(bad_rows)
            waiting.wait_in_quarantine(batch, ended.now, settlement)
        case Systemic(released=rows):
            refused = piece(batch, (*rows, *batch.rows), "refused")
            waiting.hold_systemically(application_id, (refused,), ended.now, settlement)
    return []


def _too_large(
    ended: EndedRequest, status: int, waiting: WaitingBatches, settlement: Settlement
) -> list[Batch]:
    if waiting.holds.is_probe(ended.batch):
        waiting.heal(ended.application_id, settlement)
    kept = waiting.row_filter.that_may_be_sent(ended.batch, settlement)
    if kept is not None and len(kept.rows) > 1:
        waiting.put_first(*waiting.isolation.split(kept))
    elif kept is not None:
        settlement.refused.append(refused_by_api(kept, status, ended.answer))
        settlement.refused.extend(waiting.isolation.end(kept.id))
    return []


def _failed(
    ended: EndedRequest, outcome: Retry | Held, waiting: WaitingBatches, settlement: Settlement
) -> list[Batch]:
    """Decide on a failure whose cause isn't known yet.

    The cause is the API, the application, or this very batch.
    """
    batch, application_id = ended.batch, ended.application_id
    decision, logs = waiting.isolation.fail(batch, outcome, ended.moments)
    settlement.logs.extend(logs)
    is_general = (
        waiting.holds.reason(application_id) is not None
        or isinstance(ended.answer, NotSent)
        or waiting.isolation.is_general(application_id)
    )
    if isinstance(outcome, Held) and is_general:
        started = ended.moments.started
        waiting.hold(application_id, outcome.reason, ended.now, settlement, forbidden_at=started)
        waiting.hold_turns.end_probe(batch, outcome, ended.now, settlement)
        return []
    if waiting.holds.is_probe(batch):
        waiting.hold_turns.end_probe(batch, outcome, ended.now, settlement)
        return []
    kept = waiting.row_filter.that_may_wait(batch, settlement)
    if kept is None:
        return []
    if decision is Decision.GIVE_UP:
        lone_failures = waiting.isolation.suspects.lone_failures(kept.id)
        settlement.refused.append(failed_alone(kept, lone_failures, ended.answer))
        settlement.refused.extend(waiting.isolation.end(kept.id))
        return []
    return _send_again(kept, outcome, decision, waiting, ended.now)


def _send_again(
    batch: Batch, outcome: Retry | Held, decision: Decision, waiting: WaitingBatches, now: Now
) -> list[Batch]:
    if decision is Decision.HALVE and len(batch.rows) > 1:
        waiting.put_first(*waiting.isolation.halve(batch))
        return []
    if isinstance(outcome, Retry) and outcome.kind is RetryKind.THROTTLED:
        waiting.wait_for_turn(batch)
        return []
    wait = waiting.backoff.wait_seconds(
        attempts=waiting.isolation.suspects.failures(batch.id),
        wait_seconds_min=wait_seconds_min(outcome),
    )
    is_split = decision is Decision.SPLIT and len(batch.rows) > 1
    parts = waiting.isolation.split(batch) if is_split else (batch,)
    undecided = [part for part in parts if waiting.isolation.suspects.is_alone(part.id)]
    waiting.delay(parts, now.monotonic_seconds + wait)
    return undecided

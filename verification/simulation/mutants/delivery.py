"""Mutants of delivery: what is sent, when, and the effect of an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import verification.simulation.worker_life
import worker.core.delivery.dispatcher
import worker.core.delivery.ordering
from verification.simulation.mutants.swap import Mutant, Swap
from worker.core.delivery.bisection import Bisections, Finding, Halved, ProvenBad, Unproven
from worker.core.delivery.dispatcher import Dispatcher
from worker.core.delivery.limiter import Limiter
from worker.core.delivery.ordering import OrderedLanes
from worker.core.delivery.outcome import Delivered, Outcome, Refused, Retry, RetryKind, classify
from worker.core.delivery.queues import Quarantine, Queue
from worker.core.delivery.request_history import RequestHistory, RequestMoments
from worker.core.delivery.request_size import RequestSizes
from worker.core.delivery.settlement import RefusedRow
from worker.core.delivery.subjects import LinkedRows
from worker.core.delivery.suspects import Assessment, Decision, Failure, Suspects
from worker.core.delivery.throttle import Throttles
from worker.core.delivery.waiting import WaitingBatches
from worker.core.model.answer import Answer, Response
from worker.core.model.batch import Batch


def _taken_for_success(*statuses: int) -> Mutant:
    def classified(answer: Answer, **options: Any) -> Outcome:
        return (
            Delivered()
            if isinstance(answer, Response) and answer.status in statuses
            else classify(answer, **options)
        )

    return lambda swap: swap(worker.core.delivery.dispatcher, "classify", classified)


def send_another_body_after_an_ambiguous_answer(swap: Swap) -> None:
    delay = Queue.delay

    def reordered(self: Queue, batch: Batch, due: float) -> None:
        delay(self, replace(batch, rows=tuple(reversed(batch.rows))), due)

    swap(Queue, "delay", reordered)


def bisect_only_the_first_half(swap: Swap) -> None:
    refuse = Bisections.refuse

    def incomplete(
        self: Bisections, batch: Batch, refusal: RefusedRow, request: RequestMoments
    ) -> Finding:
        finding = refuse(self, batch, refusal, request)
        if not isinstance(finding, Halved):
            return finding
        for piece in finding.pieces[1:]:
            self.end(piece.id)
        return Halved(finding.pieces[:1])

    swap(Bisections, "refuse", incomplete)


def dead_letter_a_refused_batch_whole(swap: Swap) -> None:
    def whole(
        self: Bisections, batch: Batch, refusal: RefusedRow, request: RequestMoments
    ) -> Finding:
        return ProvenBad(
            tuple(RefusedRow(row, refusal.fault, refusal.http_status) for row in batch.rows)
        )

    swap(Bisections, "refuse", whole)


def dead_letter_a_row_that_was_refused_once(swap: Swap) -> None:
    refuse = Bisections.refuse

    def hasty(
        self: Bisections, batch: Batch, refusal: RefusedRow, request: RequestMoments
    ) -> Finding:
        finding = refuse(self, batch, refusal, request)
        if not isinstance(finding, Unproven):
            return finding
        return ProvenBad((refusal, *finding.bad_rows, *self.end(batch.id)))

    swap(Bisections, "refuse", hasty)


def let_an_unproven_row_wait_for_ever(swap: Swap) -> None:
    swap(Quarantine, "release", lambda self, application_id, may_go: [])
    swap(Quarantine, "overdue", lambda self, monotonic_seconds: [])
    swap(Quarantine, "next_deadline", lambda self: None)


def suspect_no_batch(swap: Swap) -> None:
    fail = Suspects.fail

    def unsuspecting(
        self: Suspects,
        batch: Batch,
        failure: Failure,
        request: RequestMoments,
        history: RequestHistory,
    ) -> Assessment:
        assessment = fail(self, batch, failure, request, history)
        is_against_it = assessment.decision in (Decision.HALVE, Decision.GIVE_UP)
        return replace(assessment, decision=Decision.RETRY) if is_against_it else assessment

    swap(Suspects, "fail", unsuspecting)


def suspect_while_nothing_is_accepted(swap: Swap) -> None:
    fail = Suspects.fail

    def suspicious(
        self: Suspects,
        batch: Batch,
        failure: Failure,
        request: RequestMoments,
        history: RequestHistory,
    ) -> Assessment:
        if failure is not Failure.NEUTRAL:
            history.accept(batch, replace(request, started=request.ended + 1))
        return fail(self, batch, failure, request, history)

    swap(Suspects, "fail", suspicious)


def let_suspects_take_all_requests(swap: Swap) -> None:
    swap(Dispatcher, "_are_others_first", lambda self: self._limiter.is_broken)


def send_as_much_after_a_time_out(swap: Swap) -> None:
    swap(RequestSizes, "slow_down", lambda self, lane, rows, request: False)


def send_without_a_limit(swap: Swap) -> None:
    swap(Limiter, "free_at", lambda self: 0.0)


def send_what_has_grown_too_old(swap: Swap) -> None:
    swap(WaitingBatches, "without_expired", lambda self, batch, now, trust, settlement: batch)


def open_the_breaker_for_refusals(swap: Swap) -> None:
    end = Limiter.end

    def strict(self: Limiter, batch_id: str, outcome: Outcome, at: float) -> Any:
        is_refusal = isinstance(outcome, Refused)
        counted = Retry("refused", 0.0, RetryKind.FAILED) if is_refusal else outcome
        return end(self, batch_id, counted, at)

    swap(Limiter, "end", strict)


def leave_the_key_in_what_the_api_says(swap: Swap) -> None:
    swap(verification.simulation.worker_life, "excerpt_of", lambda body, key: body.decode())


def remember_a_429_for_its_batch_alone(swap: Swap) -> None:
    swap(Throttles, "admits", lambda self, application_id, at: True)


def send_profiles_in_any_order(swap: Swap) -> None:
    swap(OrderedLanes, "has_order", lambda self, batch: False)


def send_several_batches_of_a_lane_at_once(swap: Swap) -> None:
    swap(Dispatcher, "_busy_lanes", lambda self: frozenset())


def let_newer_profiles_pass_a_retry(swap: Swap) -> None:
    swap(OrderedLanes, "delay", OrderedLanes.step_aside)
    swap(worker.core.delivery.ordering, "subject_of", lambda row: (row.assignment.topic, row.line))


def send_the_right_half_first(swap: Swap) -> None:
    put_first = OrderedLanes.put_first
    swap(OrderedLanes, "put_first", lambda self, batches: put_first(self, batches[::-1]))


def let_rows_of_a_profile_pass_one_that_stepped_aside(swap: Swap) -> None:
    swap(worker.core.delivery.ordering, "subject_of", lambda row: (row.assignment.topic, row.line))


def send_promoted_profiles_last(swap: Swap) -> None:
    swap(WaitingBatches, "insert", lambda self, batch: self.append((batch,)))


def let_newer_profiles_pass_a_linked_row(swap: Swap) -> None:
    swap(LinkedRows, "precede", lambda self, row: False)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        send_another_body_after_an_ambiguous_answer,
        bisect_only_the_first_half,
        dead_letter_a_refused_batch_whole,
        dead_letter_a_row_that_was_refused_once,
        let_an_unproven_row_wait_for_ever,
        suspect_no_batch,
        suspect_while_nothing_is_accepted,
        let_suspects_take_all_requests,
        send_as_much_after_a_time_out,
        send_without_a_limit,
        send_what_has_grown_too_old,
        open_the_breaker_for_refusals,
        remember_a_429_for_its_batch_alone,
        leave_the_key_in_what_the_api_says,
        send_profiles_in_any_order,
        send_several_batches_of_a_lane_at_once,
        let_newer_profiles_pass_a_retry,
        send_the_right_half_first,
        let_rows_of_a_profile_pass_one_that_stepped_aside,
        send_promoted_profiles_last,
        let_newer_profiles_pass_a_linked_row,
    )
} | {
    "follow_a_redirect": _taken_for_success(302),
    "count_a_404_as_success": _taken_for_success(404),
    "count_any_2xx_as_success": _taken_for_success(201),
    "count_a_503_as_success": _taken_for_success(503),
}

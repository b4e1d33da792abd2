"""Every sealed batch until its rows are settled or given back, and the order of sending.

The dispatcher owns the requests in flight (`Limiter`) and the batches that wait
(`WaitingBatches`), and a batch is in one of the two. `outcome` has the meaning of an answer,
`answers` moves the batch accordingly, `fault_isolation` finds the cause of refusals and failures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from itertools import chain

from worker.core.counters.snapshot import DeliveryStatus, expiring_rows
from worker.core.delivery.answers import EndedRequest, settle
from worker.core.delivery.flow_control import Backoff, Rate
from worker.core.delivery.limiter import DeliveryRules, Limiter
from worker.core.delivery.outcome import classify
from worker.core.delivery.request_history import Lane, lane_of
from worker.core.delivery.settlement import AnswerResult, Settlement
from worker.core.delivery.waiting import STEP_ROWS_MAX, WaitingBatches
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.clock import Now, Trust
from worker.core.model.record import Assignment, AssignmentState, StateOf


class Dispatcher:
    """Owns every batch from `submit` to its end.

    `waiting` has the batches that aren't in flight. Batches are parked and given back there.

    Args:
        rules: the bounds.
        backoff: the waits between attempts.
        state_of: the state of an assignment: rows of one that drains don't wait, rows of one that
            is released aren't sent.
    """

    def __init__(self, rules: DeliveryRules, backoff: Backoff, state_of: StateOf) -> None:
        self._rules = rules
        self._state_of = state_of
        self._limiter = Limiter(rules.limiter, backoff)
        self.waiting = WaitingBatches(rules, backoff, state_of)
        # The requests of a whole minute may start at once: so one bad batch is taken apart quickly,
        # and many bad batches don't flood the API.
        self._bisect_rate = Rate(rules.bisect_requests_per_minute_max / 60, burst_seconds=60.0)
        self._was_suspect_last = False
        self._was_ordered_last = False

    def status(self, now: Now) -> DeliveryStatus:
        """The state of the delivery, for operators: walks over every batch."""
        in_flight, waiting = self._limiter.batches(), self.waiting.batches()
        batches = (*in_flight, *waiting)
        return DeliveryStatus(
            destination=self._limiter.status(now),
            holds=tuple(self.waiting.holds.status(now)),
            throttles=tuple(self.waiting.throttles.status(now)),
            rows_in_flight=sum(len(batch.rows) for batch in in_flight),
            rows_waiting=sum(len(batch.rows) for batch in waiting),
            oldest_event_timestamp=min(
                (batch.oldest_event_timestamp for batch in batches), default=None
            ),
            expiring_rows=expiring_rows(
                batches, now.unix_seconds, self._rules.event_age_seconds_max
            ),
        )

    # --- what is sent -----------------------------------------------------------------------------

    def submit(self, batches: Iterable[Batch]) -> None:
        """Take over sealed batches; `start` sends them."""
        self.waiting.append(batches)

    def next_deadline(self) -> float | None:
        """When a batch that waits can be sent or parked, in monotonic seconds.

        None while no batch may be sent before an answer arrives.
        """
        if self.waiting.holds.has_chosen:
            return -math.inf
        free_at = self._limiter.free_at()
        if free_at is None:
            return None
        due = self.waiting.next_deadline(self._busy_lanes())
        return None if due is None else max(free_at, due)

    def start(self, now: Now, trust: Trust = Trust.VOUCHED) -> tuple[list[Batch], Settlement]:
        """The batches to be posted now, each in flight until its `answer`; and rows that left.

        `trust`: whether the local clock may decide that a row is too old.

        The number of rows set aside meanwhile is bounded: `next_deadline` is not in the future
        while there are more.
        """
        posts: list[Batch] = []
        settlement = Settlement()
        at = now.monotonic_seconds
        if self._limiter.is_healthy:
            self.waiting.hold_overdue(now, settlement)
        else:
            # All batches wait then, and that is visible without a hold.
            self.waiting.quarantine.postpone_overdue(at)
        self.waiting.hold_turns.give_lanes_their_probes(self._busy_lanes(), settlement)
        rows_left = STEP_ROWS_MAX
        while rows_left > 0 and self._limiter.is_free(at) and (batch := self._next(at)) is not None:
            is_aside = self._set_aside(batch, at, settlement)
            fresh = (
                None if is_aside else self.waiting.without_expired(batch, now, trust, settlement)
            )
            if fresh is None:
                rows_left -= len(batch.rows)
            else:
                posts.append(self._send(fresh, at))
        return posts, settlement

    def time_factor(self, batch: Batch) -> int:
        """The factor by which the request of this batch may take longer than ordinarily."""
        return self.waiting.isolation.time_factor(batch)

    def _send(self, batch: Batch, monotonic_seconds: float) -> Batch:
        """Start the request of this batch: of as many of its rows as may be sent at once."""
        rows_max = self.waiting.isolation.rows_max(batch)
        if len(batch.rows) > rows_max and not self.waiting.holds.is_probe(batch):
            batch, rest = self.waiting.isolation.first_rows_apart(batch, rows_max)
            self.waiting.put_first(rest)
        if self.waiting.isolation.concerns(batch.id):
            self._bisect_rate.take(1, monotonic_seconds)
        self._was_ordered_last = self.waiting.ordered.has_order(batch)
        self._was_suspect_last = self.waiting.isolation.suspects.is_suspect(batch.id)
        self.waiting.isolation.start(batch)
        self._limiter.start(batch, monotonic_seconds)
        self.waiting.throttles.start(batch)
        return batch

    def _busy_lanes(self) -> frozenset[Lane]:
        """The ordered lanes that have a request in flight."""
        has_order = self.waiting.ordered.has_order
        return frozenset(lane_of(batch) for batch in self._limiter.batches() if has_order(batch))

    def _next(self, at: float) -> Batch | None:
        """The next batch to be sent: a probe, then a throttled or delayed one, then a ready one.

        While the API fails, its probe is a batch that never failed, if there is any, and then a
        piece that did not fail by itself: a batch that fails alone would get no answer, and would
        be due again before such a piece has its turn. Ordered lanes and the other batches
        alternate.
        """
        waiting, busy, suspects = self.waiting, self._busy_lanes(), self.waiting.isolation.suspects
        batch = waiting.hold_turns.next_probe(at, busy)
        if batch is None and self._are_others_first():
            is_suspect = suspects.is_suspect
            batch = waiting.queue.pop_ready(is_suspect) or waiting.turns.pop(at, busy, is_suspect)
        if batch is None and self._limiter.is_broken:
            batch = waiting.queue.pop_ready(lambda batch_id: suspects.failures(batch_id) > 0)
        if batch is None and not self._was_ordered_last:
            batch = waiting.turns.pop(at, busy)
        return (
            batch
            or waiting.throttles.pop(at)
            or waiting.queue.pop(at)
            or waiting.turns.pop(at, busy)
        )

    def _are_others_first(self) -> bool:
        """True if a suspect would take the last free request.

        A row that gets no answer occupies a request until its time-out. If such rows occupied all
        requests, no other row would be accepted. Then nothing would show whether the rows or the
        API are the cause, and they would be sent for ever. With one request at a time they
        alternate.
        """
        if self._limiter.is_broken:
            return True
        if self._limiter.permits == 1:
            return self._was_suspect_last
        is_suspect = self.waiting.isolation.suspects.is_suspect
        in_flight = sum(is_suspect(batch.id) for batch in self._limiter.batches())
        return in_flight + 1 >= self._limiter.permits

    def _set_aside(self, batch: Batch, monotonic_seconds: float, settlement: Settlement) -> bool:
        """Let the batch wait if it may not be sent now; True if it was set aside.

        It waits under a hold, for its turn in a bisection, or because its application is throttled.
        """
        application_id = batch.destination.application_id
        if self.waiting.holds.is_probe(batch):
            return False
        if self.waiting.holds.reason(application_id) is not None:
            self.waiting.hold_turns.wait(batch, settlement)
            return True
        free_at = self._bisect_rate.free_at
        if monotonic_seconds < free_at and self.waiting.isolation.concerns(batch.id):
            self.waiting.delay((batch,), free_at)
            return True
        if not self.waiting.throttles.admits(application_id, monotonic_seconds):
            kept = self.waiting.row_filter.that_may_wait(batch, settlement)
            if kept is not None:
                self.waiting.throttles.wait(kept)
            return True
        return False

    # --- what becomes of an answer ----------------------------------------------------------------

    def answer(self, batch_id: str, answer: Answer, now: Now) -> AnswerResult:
        """The request of this batch ended."""
        outcome = classify(
            answer,
            unix_seconds=now.unix_seconds,
            retry_after_seconds_max=self._rules.retry_after_seconds_max,
        )
        is_suspect = self.waiting.isolation.suspects.is_suspect(batch_id)
        end = self._limiter.end_suspect if is_suspect else self._limiter.end
        batch, logs = end(batch_id, outcome, now.monotonic_seconds)
        settlement = Settlement(logs=[*logs, *self.waiting.throttles.end(batch, outcome, now)])
        moments = self.waiting.isolation.end_request(batch_id)
        ended = EndedRequest(batch, answer, outcome, moments, now)
        undecided = settle(ended, self.waiting, settlement)
        undecided += self._undecided_in_quarantine(ended.application_id, self.waiting.ready())
        paused_until = self.waiting.throttles.paused_until(ended.application_id)
        if paused_until is not None:
            self.waiting.holds.postpone(ended.application_id, paused_until)
        return AnswerResult(batch, outcome, settlement, self._needs_records(undecided))

    def take_back_undecided(self, assignments: Set[Assignment]) -> Settlement:
        """Give back the rows of these assignments in quarantine that nothing here can decide on.

        A row that is refused alone while its neighbours' answers are on their way isn't left to the
        next owner of its partition: one of these answers may prove that it is bad. Ready batches of
        an application that sends nothing at present don't count: a drain waits for no pause.
        """
        settlement = Settlement()
        quarantine = self.waiting.quarantine
        undecided = {
            batch.id
            for application_id in quarantine.applications()
            for batch in self._undecided_in_quarantine(
                application_id, () if self._is_paused(application_id) else self.waiting.ready()
            )
        }
        if undecided:
            take = self.waiting.row_filter.taking_out(assignments, settlement)
            quarantine.replace(lambda batch: take(batch) if batch.id in undecided else batch)
        return settlement

    def _is_paused(self, application_id: int) -> bool:
        """True while the application's requests wait for a time, or for the end of its hold."""
        return (
            self._limiter.is_broken
            or self.waiting.holds.reason(application_id) is not None
            or self.waiting.throttles.paused_until(application_id) is not None
        )

    def _undecided_in_quarantine(self, application_id: int, ready: Iterable[Batch]) -> list[Batch]:
        """The rows in quarantine, if no request in flight or ready can lead to a decision.

        Called after each answer, because it may be the answer to the last such request.
        """
        quarantined = self.waiting.quarantine.of(application_id)
        others = chain(self._limiter.batches(), ready)
        if quarantined and self.waiting.isolation.is_any_untouched(application_id, others):
            return []
        return quarantined

    def _needs_records(self, undecided: list[Batch]) -> frozenset[Assignment]:
        """The partitions of these batches, where records that come later can lead to a decision.

        Without those that drain: they receive no records, and their rows are given back.

        While the API fails they can't. But if every batch here has failed again and again, the API
        may only seem to fail: a row that makes the API fail has opened the breaker, and no other
        batch is left that could close it.
        """
        is_alone = self.waiting.isolation.suspects.is_alone
        if not self._limiter.is_healthy and not all(
            is_alone(other.id)
            for other in chain(self._limiter.batches(), self.waiting.candidates())
        ):
            return frozenset()
        return frozenset(
            row.assignment
            for batch in undecided
            for row in batch.rows
            if self._state_of(row.assignment) is AssignmentState.ASSIGNED
        )

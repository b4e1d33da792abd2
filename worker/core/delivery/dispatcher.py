"""The way of every batch from sealing to its last answer: which is sent when.

A batch is in exactly one place: ready, delayed (waiting for its next attempt), on the bench (an
accused row that waits for others to be accepted), waiting under a hold or for the end of
throttling, or in flight. The rules it goes by live next door: `outcome` says what an answer means,
`answers` what becomes of the batch, `examination` what it is suspected of, `backoff` when it goes
again; `hold` and `throttle` stop one application, `limiter` bounds, `backlog` keeps what waits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Set

from worker.core.counters.snapshot import DestinationStatus, HoldStatus, ThrottleStatus
from worker.core.delivery.answers import Answers
from worker.core.delivery.backlog import STEP_ROWS_MAX, Backlog, Places
from worker.core.delivery.backoff import Backoff
from worker.core.delivery.examination import Examination
from worker.core.delivery.flight import Flight
from worker.core.delivery.hold import Holds
from worker.core.delivery.outcome import classify
from worker.core.delivery.quarantine import Quarantine
from worker.core.delivery.queue import Queue
from worker.core.delivery.rate import Rate
from worker.core.delivery.rules import DeliveryRules
from worker.core.delivery.settlement import Settlement, expiry_of
from worker.core.delivery.throttle import Throttles
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.clock import Now, Trust
from worker.core.model.record import Assignment, StateOf
from worker.core.post_api.resource import RESOURCES


class Dispatcher:
    """Every sealed batch until its rows are settled or given back.

    Args:
        rules: the bounds.
        backoff: the waits between attempts.
        standing_of: how an assignment stands: rows of one that drains don't wait, rows of one that
            is gone aren't sent.
    """

    def __init__(self, rules: DeliveryRules, backoff: Backoff, standing_of: StateOf) -> None:
        self._rules = rules
        self._queue = Queue()
        self._flight = Flight(rules.limiter, backoff)
        self._holds = Holds(rules.hold_probe_seconds)
        self._quarantine = Quarantine(rules.hold_probe_seconds)
        self._throttles = Throttles(rules.limiter.requests_in_flight_max, backoff)
        self._examination = Examination(rules)
        places = Places(self._queue, self._quarantine, self._holds, self._throttles)
        self._backlog = Backlog(places, self._examination, standing_of)
        self._answers = Answers(places, self._backlog, self._flight, self._examination, backoff)
        # A whole minute's worth at once: one bad batch is taken apart quickly, a flood of them
        # doesn't become the API's flood.
        self._bisect_rate = Rate(rules.bisect_requests_per_minute_max / 60, burst_seconds=60.0)
        self._was_suspect_last = False

    @property
    def rows_in_flight(self) -> int:
        """How many rows are in requests under way."""
        return sum(len(batch.rows) for batch in self._flight.batches())

    @property
    def rows_waiting(self) -> int:
        """How many rows are in batches that are ready, delayed, on the bench or under a hold."""
        return sum(len(batch.rows) for batch in self._backlog.batches())

    @property
    def oldest_event_timestamp(self) -> int | None:
        """The earliest event time among all rows here, in Unix seconds; None with no row here."""
        batches = (*self._flight.batches(), *self._backlog.batches())
        return min((batch.oldest_event_timestamp for batch in batches), default=None)

    def destination(self) -> DestinationStatus:
        """How the API is doing."""
        return self._flight.destination()

    def holds(self, now: Now) -> list[HoldStatus]:
        """The applications on hold."""
        return self._holds.status(now)

    def throttles(self, now: Now) -> list[ThrottleStatus]:
        """The applications that the API throttles."""
        return self._throttles.status(now)

    def submit(self, batches: Iterable[Batch]) -> None:
        """Take over sealed batches; `start` sends them."""
        self._queue.append(batches)

    def next_deadline(self) -> float | None:
        """When a batch that waits can be sent or parked, in monotonic seconds.

        None while an answer has to come first.
        """
        if self._holds.has_chosen:
            return -math.inf
        free_at = self._flight.free_at()
        if free_at is None:
            return None
        places = (
            self._queue.next_due,
            self._quarantine.next_deadline(),
            self._holds.next_deadline(),
            self._throttles.next_deadline(),
        )
        dues = [due for due in places if due is not None]
        if self._queue.has_ready:
            dues.append(free_at)
        return max(free_at, min(dues)) if dues else None

    def start(self, now: Now, trust: Trust = Trust.VOUCHED) -> tuple[list[Batch], Settlement]:
        """The batches to be sent now, each in flight until its `answer`; and rows that this has
        shown to be too old.

        `trust` is what the clock is worth where it shows a row to be too old.

        What is set aside on the way is bounded: `next_deadline` is not in the future while there is
        more to be looked at.
        """
        posts: list[Batch] = []
        settlement = Settlement()
        at = now.monotonic_seconds
        self._backlog.hold_overdue(now, settlement, is_healthy=self._flight.is_healthy)
        steps_left = STEP_ROWS_MAX
        while steps_left > 0 and self._flight.is_free(at) and (batch := self._next(at)) is not None:
            fresh = (
                self._without_expired(batch, now, trust, settlement)
                if self._may_go(batch, at, settlement)
                else None
            )
            if fresh is None:
                steps_left -= len(batch.rows)
                continue
            if not self._holds.is_probe(fresh):
                fresh = self._backlog.cut(fresh)
            if self._examination.concerns(fresh.id):
                self._bisect_rate.take(1, at)
            self._was_suspect_last = self._examination.is_suspect(fresh.id)
            self._examination.start(fresh)
            self._flight.start(fresh, at)
            self._throttles.start(fresh)
            posts.append(fresh)
        return posts, settlement

    def answer(self, batch_id: str, answer: Answer, now: Now) -> Settlement:
        """This batch's request ended."""
        outcome = classify(
            answer,
            unix_seconds=now.unix_seconds,
            retry_after_seconds_max=self._rules.retry_after_seconds_max,
        )
        end = (
            self._flight.end_suspect if self._examination.is_suspect(batch_id) else self._flight.end
        )
        batch, logs = end(batch_id, outcome, now.monotonic_seconds)
        logs += self._throttles.end(batch, outcome, now)
        attempt = self._examination.end_attempt(batch_id)
        settlement = Settlement(batch=batch, outcome=outcome, logs=logs)
        self._answers.judge(batch, answer, attempt, now, settlement)
        if (
            paused_until := self._throttles.paused_until(batch.destination.application_id)
        ) is not None:
            self._holds.postpone(batch.destination.application_id, paused_until)
        return settlement

    def time_factor(self, batch: Batch) -> int:
        """By how much longer than ordinarily the request of this batch may take."""
        return self._examination.time_factor(batch)

    @property
    def is_parking(self) -> bool:
        """True if any application's records go to the parking topic."""
        return self._holds.is_parking

    def goes_to_parking(self, application_id: int) -> bool:
        """True if this application's records go to the parking topic."""
        return self._holds.goes_to_parking(application_id)

    def lacks_probe(self, application_id: int) -> bool:
        """True if nothing of this application is left here to ask the API with."""
        return self._holds.lacks_probe(application_id)

    def try_again(self, application_id: int, now: Now) -> None:
        """Something has changed for this application: if it is on hold, its next probe is due at
        once.
        """
        self._holds.try_again(application_id, now.monotonic_seconds)

    def held_assignments(self) -> frozenset[Assignment]:
        """The partitions that have rows waiting under a hold: the same object for as long as they
        are the same.
        """
        return self._holds.assignments()

    def choose_for_parking(
        self, over_span: Mapping[Assignment, int], *, bytes_min: int, topics: Collection[str]
    ) -> None:
        """Choose the rows on hold that alone keep others from going on: see
        `Holds.choose_for_parking`.
        """
        self._holds.choose_for_parking(over_span, bytes_min=bytes_min, topics=topics)

    @property
    def has_to_park(self) -> bool:
        """True while chosen rows are still here."""
        return self._holds.has_chosen

    def park(self) -> Settlement:
        """Give up some of the chosen rows. Called until none is left."""
        return self._backlog.park()

    def take_back_waiting(self, assignments: Set[Assignment]) -> Settlement:
        """Give back the rows of these assignments that wait for an attempt or for a probe."""
        return self._backlog.take_back_waiting(assignments)

    def take_back(self, assignments: Set[Assignment]) -> Settlement:
        """Give back every row of these assignments that isn't in flight."""
        return self._backlog.take_back(assignments)

    def _next(self, monotonic_seconds: float) -> Batch | None:
        """The next batch to be sent: a probe, then one that was throttled or whose wait is over,
        then a ready one.

        A broken destination is asked with what has never failed, if there is any: a batch that
        fails alone would get no answer.
        """
        return (
            self._backlog.next_probe(monotonic_seconds)
            or (
                self._queue.pop_ready(self._examination.is_suspect)
                if self._are_others_first()
                else None
            )
            or self._throttles.pop(monotonic_seconds)
            or self._queue.pop(monotonic_seconds)
        )

    def _are_others_first(self) -> bool:
        """True if a suspect would take the last request that is left to others.

        A row that gets no answer holds its request for as long as a request may take. If such rows
        held all requests, nothing would be taken, nobody could tell the rows from a broken API, and
        they would be sent for ever. With one request at a time they take turns.
        """
        if self._flight.is_broken:
            return True
        suspects = sum(self._examination.is_suspect(batch.id) for batch in self._flight.batches())
        return (
            self._was_suspect_last
            if self._flight.permits == 1
            else suspects + 1 >= self._flight.permits
        )

    def _may_go(self, batch: Batch, monotonic_seconds: float, settlement: Settlement) -> bool:
        """False where it has to wait, and is set aside: under a hold, for its turn in a bisection,
        or while it is throttled.
        """
        if self._holds.is_probe(batch):
            return True
        if self._holds.reason(batch.destination.application_id) is not None:
            self._backlog.wait_under_hold(batch, settlement)
            return False
        if self._examination.concerns(batch.id) and monotonic_seconds < self._bisect_rate.free_at:
            self._queue.delay(batch, self._bisect_rate.free_at)
            return False
        if not self._throttles.admits(batch.destination.application_id, monotonic_seconds):
            self._backlog.wait_for_turn(batch, settlement)
            return False
        return True

    def _without_expired(
        self, batch: Batch, now: Now, trust: Trust, settlement: Settlement
    ) -> Batch | None:
        """The batch as it may be sent: one event that has grown too old while it waited would have
        all of them refused.

        By a clock that is contradicted nothing is too old; until there is a witness, such events
        wait for what it says.
        """
        earliest = int(now.unix_seconds) - self._rules.event_age_seconds_max
        if (
            not RESOURCES[batch.destination.resource].is_dated
            or batch.oldest_event_timestamp >= earliest
        ):
            return batch
        if trust is Trust.DOUBTED:
            return batch
        was_probe = self._holds.is_probe(batch)
        if trust is Trust.UNVOUCHED:
            kept = self._backlog.put_off(
                batch, lambda row: row.event_timestamp < earliest, now, settlement
            )
        else:
            kept, expired = self._backlog.take_out(
                batch, lambda row: row.event_timestamp < earliest, settlement
            )
            settlement.refused.extend(expiry_of(row, earliest) for row in expired)
        if was_probe:
            self._holds.replace_probe(batch, kept, now.monotonic_seconds)
        return kept

"""The way of every batch from sealing to its last answer: which is sent when, and what happens to it then.

A batch is in exactly one place: ready, delayed (waiting for its next attempt), waiting under a hold, or in flight. The rules it
goes by live next door: `outcome` judges, `backoff` spaces, `bisect` finds guilty rows, `hold` stops one application, `limiter`
bounds, `backlog` keeps what waits. This file only moves batches between them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass

from worker.delivery.backlog import STEP_ROWS_MAX, Backlog
from worker.delivery.backoff import Backoff
from worker.delivery.bisect import Bisections
from worker.delivery.flight import Flight
from worker.delivery.hold import SYSTEMIC, Holds
from worker.delivery.limiter import LimiterRules
from worker.delivery.outcome import Delivered, Held, Refused, Retry, RetryKind, TooLarge, classify
from worker.delivery.queue import Queue
from worker.delivery.rate import Rate
from worker.delivery.settlement import Refusal, Settlement, refusal
from worker.delivery.split import halves
from worker.delivery.throttle import Throttles
from worker.model.answer import Answer
from worker.model.batch import Batch
from worker.model.clock import Now
from worker.model.command import Log, Severity
from worker.model.fault import FieldFault, Reason
from worker.model.record import Assignment
from worker.model.resource import RESOURCES
from worker.model.snapshot import DestinationStatus, HoldStatus, ThrottleStatus
from worker.model.standing import StandingOf

# One connection may be lost for any reason; the same batch twice, and it may be the body's size that something doesn't bear.
CUT_OFFS_TO_SPLIT = 2


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The bounds of the delivery."""

    limiter: LimiterRules
    retry_after_seconds_max: float
    hold_probe_seconds: float
    systemic_ratio: float
    systemic_rows_min: int
    bisect_requests_per_minute_max: int
    event_age_seconds_max: int


class Dispatcher:
    """Every sealed batch until its rows are settled or given back.

    Args:
        rules: the bounds.
        backoff: the waits between attempts.
        standing_of: how an assignment stands: rows of one that drains don't wait, rows of one that is gone aren't sent.
    """

    def __init__(self, rules: DeliveryRules, backoff: Backoff, standing_of: StandingOf) -> None:
        self._rules = rules
        self._backoff = backoff
        self._queue = Queue()
        self._flight = Flight(rules.limiter, backoff)
        self._holds = Holds(rules.hold_probe_seconds)
        self._bisections = Bisections(systemic_ratio=rules.systemic_ratio, systemic_rows_min=rules.systemic_rows_min)
        self._throttles = Throttles(rules.limiter.requests_in_flight_max, backoff)
        self._backlog = Backlog(self._queue, self._holds, self._bisections, self._throttles, standing_of)
        # A whole minute's worth at once: one bad batch is taken apart quickly, a flood of them doesn't become the API's flood.
        self._bisect_rate = Rate(rules.bisect_requests_per_minute_max / 60, burst_seconds=60.0)

    @property
    def rows_in_flight(self) -> int:
        """How many rows are in requests under way."""
        return sum(len(batch.rows) for batch in self._flight.batches())

    @property
    def rows_waiting(self) -> int:
        """How many rows are in batches that are ready, delayed or under a hold."""
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
        """When a batch that waits can be sent or parked, in monotonic seconds. None while an answer has to come first."""
        if self._holds.has_chosen:
            return -math.inf
        free_at = self._flight.free_at()
        if free_at is None:
            return None
        waits = (self._queue.next_due, self._holds.next_deadline(), self._throttles.next_deadline())
        dues = [due for due in waits if due is not None]
        if self._queue.has_ready:
            dues.append(free_at)
        return max(free_at, min(dues)) if dues else None

    def start(self, now: Now) -> tuple[list[Batch], Settlement]:
        """The batches to be sent now, each in flight until its `answer`; and rows that this has shown to be too old.

        What is set aside on the way is bounded: `next_deadline` is not in the future while there is more to be looked at.
        """
        posts: list[Batch] = []
        settlement = Settlement()
        at = now.monotonic_seconds
        steps_left = STEP_ROWS_MAX
        while steps_left > 0 and self._flight.is_free(at) and (batch := self._next(at)) is not None:
            fresh = self._without_expired(batch, now, settlement) if self._may_go(batch, at, settlement) else None
            if fresh is None:
                steps_left -= len(batch.rows)
                continue
            if self._bisections.concerns(fresh.id):
                self._bisect_rate.take(1, at)
            self._flight.start(fresh, at)
            self._throttles.start(fresh)
            posts.append(fresh)
        return posts, settlement

    def answer(self, batch_id: str, answer: Answer, now: Now) -> Settlement:
        """This batch's request ended."""
        outcome = classify(answer, unix_seconds=now.unix_seconds, retry_after_seconds_max=self._rules.retry_after_seconds_max)
        batch, logs = self._flight.end(batch_id, outcome, now.monotonic_seconds)
        logs += self._throttles.end(batch, outcome, now)
        failures = self._backlog.take_failures(batch_id)
        settlement = Settlement(batch=batch, outcome=outcome, logs=logs)
        match outcome:
            case Delivered():
                self._delivered(batch, settlement)
            case Refused(status=status):
                self._refused(batch, refusal(batch, status, answer), now, settlement)
            case TooLarge():
                self._too_large(batch, refusal(batch, 413, answer), now, settlement)
            case Retry():
                self._retry(batch, outcome, failures + 1, now, settlement)
            case Held(reason=reason):
                self._hold(batch, reason, now, settlement)
        if (paused_until := self._throttles.paused_until(batch.destination.application_id)) is not None:
            self._holds.postpone(batch.destination.application_id, paused_until)
        return settlement

    @property
    def is_parking(self) -> bool:
        """True if any application's records go to the parking topic."""
        return self._holds.is_parking

    def diverts(self, application_id: int) -> bool:
        """True if this application's records go to the parking topic."""
        return self._holds.diverts(application_id)

    def lacks_probe(self, application_id: int) -> bool:
        """True if nothing of this application is left here to ask the API with."""
        return self._holds.lacks_probe(application_id)

    def try_again(self, application_id: int, now: Now) -> None:
        """Something has changed for this application: if it is on hold, its next probe is due at once."""
        self._holds.try_again(application_id, now.monotonic_seconds)

    def held_assignments(self) -> frozenset[Assignment]:
        """The partitions that have rows waiting under a hold: the same object for as long as they are the same."""
        return self._holds.assignments()

    def choose_for_parking(self, wide: Mapping[Assignment, int], *, bytes_min: int, topics: Collection[str]) -> None:
        """Choose the rows on hold that alone keep others from going on: see `Holds.choose_for_parking`."""
        self._holds.choose_for_parking(wide, bytes_min=bytes_min, topics=topics)

    @property
    def has_to_park(self) -> bool:
        """True while chosen rows are still here."""
        return self._holds.has_chosen

    def park(self) -> Settlement:
        """Give up some of the chosen rows. Called until none is left."""
        return self._backlog.park()

    def withdraw_waiting(self, assignments: Set[Assignment]) -> Settlement:
        """Give back the rows of these assignments that wait for an attempt or for a probe."""
        return self._backlog.withdraw_waiting(assignments)

    def withdraw(self, assignments: Set[Assignment]) -> Settlement:
        """Give back every row of these assignments that isn't in flight."""
        return self._backlog.withdraw(assignments)

    def _next(self, monotonic_seconds: float) -> Batch | None:
        """The next batch to be sent: a probe, then one that was throttled or whose wait is over, then a ready one."""
        return (
            self._backlog.next_probe(monotonic_seconds)
            or self._throttles.pop(monotonic_seconds)
            or self._queue.pop(monotonic_seconds)
        )

    def _may_go(self, batch: Batch, monotonic_seconds: float, settlement: Settlement) -> bool:
        """False where it has to wait, and is set aside: under a hold, for its turn in a bisection, or while it is throttled."""
        if self._holds.is_probe(batch):
            return True
        if self._holds.reason(batch.destination.application_id) is not None:
            self._backlog.wait_under_hold(batch, settlement)
            return False
        if self._bisections.concerns(batch.id) and monotonic_seconds < self._bisect_rate.free_at:
            self._queue.delay(batch, self._bisect_rate.free_at)
            return False
        if not self._throttles.admits(batch.destination.application_id, monotonic_seconds):
            self._backlog.wait_for_turn(batch, settlement)
            return False
        return True

    def _without_expired(self, batch: Batch, now: Now, settlement: Settlement) -> Batch | None:
        """The batch as it may be sent: one event that has grown too old while it waited would have all of them refused."""
        earliest = int(now.unix_seconds) - self._rules.event_age_seconds_max
        if not RESOURCES[batch.destination.resource].is_dated or batch.oldest_event_timestamp >= earliest:
            return batch
        was_probe = self._holds.is_probe(batch)
        kept, expired = self._backlog.take_out(batch, lambda row: row.event_timestamp < earliest, settlement)
        for row in expired:
            message = f"{row.event_timestamp} has become too old while it waited; the oldest event taken is {earliest}"
            settlement.refused.append(Refusal(row, FieldFault(Reason.TOO_OLD, "event_timestamp", message), None))
        if was_probe:
            self._holds.replace_probe(batch, kept, now.monotonic_seconds)
        return kept

    def _delivered(self, batch: Batch, settlement: Settlement) -> None:
        settlement.delivered.extend(batch.rows)
        settlement.refused.extend(self._bisections.deliver(batch))
        if self._holds.is_probe(batch):
            self._heal(batch.destination.application_id, settlement)

    def _heal(self, application_id: int, settlement: Settlement) -> None:
        self._queue.append(self._holds.heal(application_id))
        settlement.logs.append(Log(Severity.INFO, "application_healed", {"application_id": application_id}))

    def _refused(self, batch: Batch, refusal: Refusal, now: Now, settlement: Settlement) -> None:
        application_id = batch.destination.application_id
        if self._holds.reason(application_id) == SYSTEMIC:
            self._hold(batch, SYSTEMIC, now, settlement)
            return
        if self._holds.is_probe(batch):
            # The API reads the rows again and finds fault with them: what the hold was for is over.
            self._heal(application_id, settlement)
        kept = self._backlog.that_may_be_sent(batch, settlement)
        if kept is None:
            return
        if kept is not batch:
            # Rows have left with their partition; whether the rest would be refused is not known, so it is sent again.
            self._queue.put_first(kept)
            return
        verdict = self._bisections.refuse(batch, refusal)
        self._queue.put_first(*verdict.pieces)
        settlement.refused.extend(verdict.guilty)
        if verdict.systemic is not None:
            self._hold(verdict.systemic, SYSTEMIC, now, settlement)

    def _too_large(self, batch: Batch, refusal: Refusal, now: Now, settlement: Settlement) -> None:
        if self._holds.is_probe(batch):
            self._heal(batch.destination.application_id, settlement)
        kept = self._backlog.that_may_be_sent(batch, settlement)
        if kept is None:
            return
        if len(kept.rows) > 1:
            pieces = halves(kept)
            self._bisections.replace(kept.id, *pieces)
            self._queue.put_first(*pieces)
            return
        settlement.refused.append(refusal)
        settlement.refused.extend(self._bisections.end(kept.id))

    def _retry(self, batch: Batch, outcome: Retry, failures: int, now: Now, settlement: Settlement) -> None:
        if self._holds.is_probe(batch):
            self._wait_again(batch, now, settlement, wait_seconds_min=outcome.wait_seconds_min)
            return
        kept = self._backlog.that_may_wait(batch, settlement)
        if kept is None:
            return
        if outcome.kind is RetryKind.THROTTLED:
            self._backlog.note_failures(kept, failures)
            self._throttles.wait_first(kept)
            return
        wait = self._backoff.wait_seconds(attempts=failures, wait_seconds_min=outcome.wait_seconds_min)
        if outcome.kind is RetryKind.CUT_OFF and failures >= CUT_OFFS_TO_SPLIT and len(kept.rows) > 1:
            parts: tuple[Batch, ...] = halves(kept)
            self._bisections.replace(kept.id, *parts)
        else:
            parts = (kept,)
            self._backlog.note_failures(kept, failures)
        for part in parts:
            self._queue.delay(part, now.monotonic_seconds + wait)

    def _hold(self, batch: Batch, reason: str, now: Now, settlement: Settlement) -> None:
        application_id = batch.destination.application_id
        if self._holds.reason(application_id) != reason:
            fields: dict[str, str | int | float] = {"application_id": application_id, "reason": reason}
            settlement.logs.append(Log(Severity.ERROR, "application_held", fields))
        self._holds.begin(application_id, reason, now)
        if self._holds.is_probe(batch):
            self._wait_again(batch, now, settlement, wait_seconds_min=0.0)
        else:
            self._backlog.wait_under_hold(batch, settlement)

    def _wait_again(self, probe: Batch, now: Now, settlement: Settlement, *, wait_seconds_min: float) -> None:
        """A probe failed: its batch goes back to those that wait, without the rows that may not."""
        kept = self._backlog.that_may_wait(probe, settlement)
        self._holds.end_probe(probe, kept, now.monotonic_seconds, wait_seconds_min=wait_seconds_min)

"""Takes rows on after their batch is sealed: sending, answers, settling, giving back.

Moves rows between window, batcher, dispatcher and ledger, as the pipeline does, and has no rules of
its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from worker.core.batching.batcher import Sealed
from worker.core.counters.counters import RequestEnd
from worker.core.delivery.outcome import AMBIGUOUS, Outcome, Retry, label
from worker.core.delivery.settlement import AnswerResult, Settlement
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch, Shares
from worker.core.model.clock import Now
from worker.core.model.command import (
    Command,
    Post,
    Severity,
    WriteDeadLetters,
    WriteLog,
    WriteParked,
)
from worker.core.model.event import (
    DeadLettersAcknowledged,
    DeadLettersFailed,
    ParkingAcknowledged,
    ParkingFailed,
)
from worker.core.model.fault import Rejection
from worker.core.model.record import AssignmentState
from worker.core.model.row import Row
from worker.core.route import Components
from worker.core.wire.trace_context import first_trace_id


@dataclass(slots=True)
class TopicWrites:
    """The records that are being written to another topic.

    `waiting` is how many are not acknowledged yet. `is_blocked`: the last attempt to write failed.
    """

    waiting: int = 0
    is_blocked: bool = False


class RowFlow:
    """Moves rows from one component to the next, and returns the necessary commands."""

    def __init__(self, components: Components) -> None:
        self._routes = components.routes
        self._dispatcher = components.dispatcher
        self._ledger = components.ledger
        self._clock = components.clock
        self.dead_letters = TopicWrites()
        self.parking = TopicWrites()

    @property
    def is_blocked(self) -> bool:
        """True while the dead-letter topic or the parking topic cannot be written."""
        return self.dead_letters.is_blocked or self.parking.is_blocked

    # --- requests ---------------------------------------------------------------------------------

    def submit(self, sealed: Iterable[Sealed]) -> None:
        """Hand sealed batches to the dispatcher."""
        for one in sealed:
            self._ledger.seal(one.batch, one.trigger)
            self._dispatcher.submit((one.batch,))

    def send(self, now: Now) -> list[Command]:
        """Start the requests that may start now."""
        commands: list[Command] = []
        batches, settlement = self._dispatcher.start(now, self._clock.trust(now))
        if settlement.waits_for_time:
            self._clock.want()
        for batch in batches:
            self._ledger.start_request(batch)
            commands.append(Post(batch, self._dispatcher.time_factor(batch)))
        return commands + self.settle(settlement, now)

    def end_request(self, result: AnswerResult, answer: Answer, now: Now) -> list[Command]:
        """Take over the result of a request that has ended; its log lines name the batch."""
        self._ledger.end_request(result.batch, answer, _request_end(result.outcome))
        settlement = result.settlement
        if settlement.logs:
            about = _log_fields(result.batch)
            settlement.logs = [
                replace(line, fields=line.fields | about) for line in settlement.logs
            ]
        return self.settle(settlement, now)

    def settle(self, settlement: Settlement, now: Now) -> list[Command]:
        """Settle, dead-letter, give back or park the rows that have left the delivery."""
        for batch in settlement.delivered:
            self._deliver(batch.shares, now)
        commands = self.reject(
            [
                Rejection(
                    refusal.row.assignment,
                    refusal.row.record,
                    (refusal.fault,),
                    refusal.row.size_bytes,
                    refusal.http_status,
                )
                for refusal in settlement.refused
            ]
        )
        self._promote([refusal.row for refusal in settlement.refused], now)
        self.give_back(settlement.returned, now)
        return [*commands, *self.park(settlement.parked), *settlement.logs]

    def _deliver(self, shares: Shares, now: Now) -> None:
        """Settle rows that were answered 200, and their linked duplicates."""
        duplicates: list[Row] = []
        for assignment, share in shares.items():
            window = self._routes[assignment.topic].window
            duplicates += window.deliver(share.keys, now.monotonic_seconds)
        # The ledger measures ages and latencies, by the best known time: the local clock may be
        # wrong.
        self._ledger.deliver(shares, self._clock.best_guess(now))
        self._drop_duplicates(duplicates)

    # --- dead letters and parking -----------------------------------------------------------------

    def reject(self, rejections: Sequence[Rejection]) -> list[Command]:
        """Write records to the dead-letter topic; its acknowledgement settles them."""
        if not rejections:
            return []
        self._ledger.reject(rejections)
        self.dead_letters.waiting += len(rejections)
        return [WriteDeadLetters(tuple(rejections))]

    def park(self, rows: Sequence[Row]) -> list[Command]:
        """Write the records of rows to the parking topic; its acknowledgement settles them."""
        if not rows:
            return []
        self.parking.waiting += len(rows)
        return [WriteParked(tuple(rows))]

    def split_off_parked(self, rows: Sequence[Row]) -> tuple[list[Row], list[Command]]:
        """Park the rows that may not wait here; return the rows that continue.

        If every waiting batch of an application was a failed probe, a single row continues: it is
        the next probe.
        """
        holds = self._dispatcher.waiting.holds
        continuing: list[Row] = []
        parked: list[Row] = []
        probing: set[int] = set()
        for row in rows:
            application_id = row.destination.application_id
            if not holds.goes_to_parking(application_id):
                continuing.append(row)
            elif application_id not in probing and holds.lacks_untried(application_id):
                probing.add(application_id)
                continuing.append(row)
            else:
                parked.append(row)
        return continuing, self.park(parked)

    def end_write(
        self,
        event: DeadLettersAcknowledged | DeadLettersFailed | ParkingAcknowledged | ParkingFailed,
        now: Now,
    ) -> list[Command]:
        """Take over the result of a write to the dead-letter topic or the parking topic."""
        match event:
            case DeadLettersAcknowledged(rejections=rejections):
                self._dead_lettered(rejections)
            case ParkingAcknowledged(rows=rows):
                self._parked(rows, now)
            case DeadLettersFailed(count=count, detail=detail):
                self.dead_letters.is_blocked = True
                self._ledger.fail_dead_letters()
                fields: dict[str, str | int | float] = {"records": count, "detail": detail}
                return [WriteLog(Severity.ERROR, "dead_letters_failed", fields)]
            case ParkingFailed(count=count, detail=detail):
                self.parking.is_blocked = True
                self._ledger.fail_parking()
                return [
                    WriteLog(Severity.ERROR, "parking_failed", {"records": count, "detail": detail})
                ]
        return []

    def _dead_lettered(self, rejections: Sequence[Rejection]) -> None:
        """Settle records that the dead-letter topic has acknowledged."""
        self.dead_letters.is_blocked = False
        self.dead_letters.waiting -= len(rejections)
        self._ledger.write_dead_letters(rejections)

    def _parked(self, rows: Sequence[Row], now: Now) -> None:
        """Settle rows that the parking topic has acknowledged, and their linked duplicates."""
        self.parking.is_blocked = False
        self.parking.waiting -= len(rows)
        for topic, of_topic in _by_topic(rows).items():
            duplicates, promoted = self._routes[topic].window.park(of_topic, now.monotonic_seconds)
            self._drop_duplicates(duplicates)
            self._continue(topic, promoted, now)
        self._ledger.park(rows)

    def _drop_duplicates(self, linked: Sequence[Row]) -> None:
        """Settle rows that were linked to rows that are delivered or parked."""
        self._dispatcher.waiting.ordered.unlink(linked)
        self._ledger.drop_duplicates(linked)

    # --- rows that leave without being delivered --------------------------------------------------

    def give_back(self, rows: Sequence[Row], now: Now) -> None:
        """Leave these rows, unsettled, to the next owners of their partitions."""
        self._ledger.give_back(rows)
        self._promote(rows, now)

    def _promote(self, rows: Sequence[Row], now: Now) -> None:
        """Let the oldest duplicates that are linked to these rows take their places."""
        for topic, of_topic in _by_topic(rows).items():
            self._continue(topic, self._routes[topic].window.take_back(of_topic), now)

    def _continue(self, topic: str, promoted: Sequence[Row], now: Now) -> None:
        """Batch rows that are linked no longer; give them back if their partition drains.

        Newer rows were received while these were linked. Where rows have an order, open batches are
        sealed, and the promoted rows enter the line of their lane before the newer rows.
        """
        self._dispatcher.waiting.ordered.unlink(promoted)
        state = self._ledger.offsets.state
        staying: list[Row] = []
        draining: list[Row] = []
        for row in promoted:
            stays = state(row.assignment) is AssignmentState.ASSIGNED
            (staying if stays else draining).append(row)
        staying.sort(key=lambda row: row.record.offset)
        batcher = self._routes[topic].batcher
        self.submit(batcher.seal_ordered(staying))
        added = batcher.add(staying, now.monotonic_seconds)
        for sealed in (*added, *batcher.seal_ordered(staying)):
            self._ledger.seal(sealed.batch, sealed.trigger)
            self._dispatcher.waiting.insert(sealed.batch)
        if draining:
            self.give_back(draining, now)


def _request_end(outcome: Outcome) -> RequestEnd:
    if isinstance(outcome, Retry):
        return RequestEnd(label(outcome), outcome.reason, outcome.kind in AMBIGUOUS)
    return RequestEnd(label(outcome))


def _log_fields(batch: Batch) -> dict[str, str | int | float]:
    """The batch's id, which its requests have as `X-Request-Id`, and a trace of its records."""
    trace_id = first_trace_id(row.record for row in batch.rows)
    fields: dict[str, str | int | float] = {"batch_id": batch.id}
    if trace_id is not None:
        fields["producer_trace_id"] = trace_id
    return fields


def _by_topic(rows: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for assignment, run in groupby(rows, attrgetter("assignment")):
        grouped.setdefault(assignment.topic, []).extend(run)
    return grouped

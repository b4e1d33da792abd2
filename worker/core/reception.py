"""Takes received records to the batchers; sets them aside until the clock is vouched for.

Moves records between the components, as the pipeline does. Its only rule is the order of the
records that were set aside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.counters.counters import ContractDrift
from worker.core.model.clock import Now, Trust
from worker.core.model.command import Command, Severity, WriteLog
from worker.core.model.event import Received, TailRead
from worker.core.model.fault import Reason, Rejection
from worker.core.model.record import Assignment, AssignmentState, Record, Skipped
from worker.core.model.row import Row
from worker.core.route import Components, RouteRole
from worker.core.settlement import RowFlow
from worker.core.wire import commit_metadata
from worker.core.wire.record_headers import came_from

# How often a topic's records without a key are logged at most.
KEYLESS_LOG_SECONDS = 60.0
AGE_REASONS = frozenset({Reason.TOO_OLD, Reason.IN_FUTURE})


class KeylessLog:
    """The log lines about a topic's records without a usable key: one per interval at most."""

    def __init__(self) -> None:
        self._due_seconds = -math.inf
        self._logged = 0

    def lines(self, assignment: Assignment, drift: ContractDrift, now: Now) -> list[Command]:
        """Return a line if there are new records without a key, and the last line is old enough."""
        count = drift.without_key.total()
        if count == self._logged or now.monotonic_seconds < self._due_seconds:
            return []
        fields: dict[str, str | int | float] = {
            "topic": assignment.topic,
            "records": count - self._logged,
            **{f"{why}_total": number for why, number in sorted(drift.without_key.items())},
        }
        self._due_seconds = now.monotonic_seconds + KEYLESS_LOG_SECONDS
        self._logged = count
        return [WriteLog(Severity.WARNING, "records_without_key", fields)]


@dataclass(frozen=True, slots=True)
class ReadChunk:
    """What the intake made of a chunk's records. Nothing is tracked or counted yet."""

    skipped: Sequence[Skipped]
    rows: Sequence[Row]
    rejections: Sequence[Rejection]
    drift: ContractDrift

    @property
    def needs_clock(self) -> bool:
        """True if a record would be rejected only for its age."""
        return any(
            all(fault.reason in AGE_REASONS for fault in rejection.faults)
            for rejection in self.rejections
        )


class Receiving:
    """Takes chunks in, and returns the commands that this needs.

    A chunk that is set aside isn't tracked or counted: for every other component it isn't received
    yet. Reception is paused meanwhile, so at most one chunk for each partition is set aside.
    """

    def __init__(self, components: Components, flow: RowFlow) -> None:
        self._routes = components.routes
        self._ledger = components.ledger
        self._dispatcher = components.dispatcher
        self._clock = components.clock
        self._flow = flow
        self._aside: dict[Assignment, list[Received]] = {}
        self._keyless = {topic: KeylessLog() for topic in components.routes}

    @property
    def is_waiting(self) -> bool:
        """True while chunks wait until the clock is vouched for."""
        return bool(self._aside)

    def take(self, event: Received, now: Now) -> list[Command]:
        """Take in a chunk; a chunk of a partition that drains is left for its next owner."""
        if self._ledger.offsets.state(event.assignment) is not AssignmentState.ASSIGNED:
            return []
        if event.records:
            self._clock.note_record(event.records[-1].timestamp, now)
        if event.assignment not in self._aside:
            match self._clock.trust(now):
                case Trust.VOUCHED:
                    return self._receive(event, now)
                case Trust.UNVOUCHED:
                    # Most chunks have no record that would be rejected only for its age.
                    read = self._read(event.assignment, event.records, now)
                    if not read.needs_clock:
                        return self._receive(event, now, read)
                case Trust.DOUBTED:
                    pass
        self._aside.setdefault(event.assignment, []).append(event)
        return []

    def resume(self, now: Now) -> list[Command]:
        """Take in the chunks that were set aside, if the clock is vouched for now.

        Chunks of partitions that drain meanwhile are dropped.
        """
        if not self._aside:
            return []
        state = self._ledger.offsets.state
        aside = {
            assignment: events
            for assignment, events in self._aside.items()
            if state(assignment) is AssignmentState.ASSIGNED
        }
        if self._clock.trust(now) is not Trust.VOUCHED:
            self._aside = aside
            return []
        self._aside = {}
        commands: list[Command] = []
        for events in aside.values():
            for event in events:
                commands += self._receive(event, now)
        return commands

    def restore(self, event: TailRead, now: Now) -> None:
        """Put the records of a rebuilt tail into the window.

        Delivered records are remembered by key, parked records by content, other records not at
        all.
        """
        start = event.start
        metadata = commit_metadata.of(start)
        if metadata is None:
            return
        route = self._routes[start.assignment.topic]
        settled = [
            record for record in event.records if metadata.covers(record.offset, start.position)
        ]
        rows = route.intake.read_again(start.assignment, settled, self._clock.best_guess(now))
        received = start.assignment.topic_partition
        # Records are compared by the place where they were first received: the dead-letter topic
        # names that place also for a record that was read from the parking topic and then refused.
        accepted = [
            (row, place)
            for row in rows
            if (place := came_from(row.record, received)) not in event.refused
        ]
        parked_places = frozenset() if route.role is RouteRole.PARKING else event.parked
        delivered = [row for row, place in accepted if place not in parked_places]
        parked = [row for row, place in accepted if place in parked_places]
        route.window.restore(
            delivered, parked, now, named_from_milliseconds=event.named_from_milliseconds
        )

    def _read(self, assignment: Assignment, records: Sequence[Record], now: Now) -> ReadChunk:
        intake, drift = self._routes[assignment.topic].intake, ContractDrift()
        selected, skipped = intake.select(records)
        rows, rejections = intake.read(assignment, selected, now, drift)
        return ReadChunk(skipped, rows, rejections, drift)

    def _receive(self, event: Received, now: Now, read: ReadChunk | None = None) -> list[Command]:
        """Take in a chunk; `read` is what was made of all its records at this moment."""
        route = self._routes[event.assignment.topic]
        records = self._ledger.receive(event, now)
        if read is None or records is not event.records:
            # In the second case some records may be settled: they must not become rows.
            read = self._read(event.assignment, records, now)
        self._ledger.skip_records(event.assignment, read.skipped)
        drift = self._ledger.contract_drift(event.assignment.topic)
        drift.add(read.drift)
        rows, rejections = read.rows, read.rejections
        self._ledger.reserve(rows)
        self._ledger.reserve(rejections)
        commands = self._flow.reject(rejections)
        if drift.without_key:
            commands += self._keyless[event.assignment.topic].lines(event.assignment, drift, now)
        admission = route.window.admit(rows, now.monotonic_seconds)
        self._ledger.drop_duplicates(admission.duplicates)
        self._dispatcher.waiting.ordered.link(admission.linked)
        fresh = admission.fresh
        if (
            route.role is RouteRole.SOURCE_WITH_PARKING
            and self._dispatcher.waiting.holds.is_parking
        ):
            fresh, parking = self._flow.split_off_parked(fresh)
            commands += parking
        self._flow.submit(route.batcher.add(fresh, now.monotonic_seconds))
        return commands

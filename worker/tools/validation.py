"""What the worker would do with records: with one, or with all records of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import Enum, auto

import msgspec

from worker.core.counters.counters import ContractDrift
from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import NO_EPOCH, Assignment, Record, Skipped
from worker.core.model.row import KeySource, Row
from worker.core.route import Route
from worker.daemon.pipeline_parts import route_parts
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import RecordFault
from worker.tools.dead_letters.scan import named_applications
from worker.tools.file_formats import Chunk, FileRecord, Unreadable
from worker.tools.validation_report import RecordResult, Summary, add_drift

UNREADABLE = "unreadable"


class UnknownApplications(Enum):
    """What happens to a record of an application that the configuration lacks."""

    REJECT = auto()
    ACCEPT = auto()


def no_faults(_: Row) -> tuple[FieldFault, ...]:
    """No faults beside those that the intake finds."""
    return ()


class DryRun:
    """The worker's own intakes, windows and batchers, with the configuration at hand.

    `unknown_applications` ACCEPT accepts records of applications that the configuration lacks.
    `check` finds the faults of a row beside those that the intake finds.
    """

    def __init__(
        self,
        settings: Settings,
        unknown_applications: UnknownApplications = UnknownApplications.REJECT,
        check: Callable[[Row], tuple[FieldFault, ...]] = no_faults,
    ) -> None:
        self._check = check
        self._settings = settings
        self._unknown_applications = unknown_applications
        self.routes: dict[str, ResolvedRoute] = {
            route.topic: route for route in settings.resolved_routes()
        }
        self.applications = named_applications(settings)
        self._parts: dict[str, Route] = {
            topic: route_parts(settings, route) for topic, route in self.routes.items()
        }

    def parts(self, topic: str) -> Route:
        """The intake, window and batcher of a topic that has a route."""
        return self._parts[topic]

    def check(
        self, topic: str, partition: int, record: Record, now: Now
    ) -> Row | Rejection | Skipped:
        """The record's row, its rejection, or why it is skipped. `topic` must have a route."""
        selected, skipped = self._parts[topic].intake.select((record,))
        if skipped:
            return skipped[0]
        rows, rejections = self.read(Assignment(topic, partition, NO_EPOCH), selected, now)
        return rows[0] if rows else rejections[0]

    def read(
        self,
        assignment: Assignment,
        records: Sequence[Record],
        now: Now,
        drift: ContractDrift | None = None,
    ) -> tuple[Sequence[Row], Sequence[Rejection]]:
        """The rows and the rejections of records. The topic must have a route.

        `drift` counts what differs from the contract; None: it isn't counted.
        """
        drift = drift if drift is not None else ContractDrift()
        found, rejections = self._read(assignment, records, now, drift)
        rows: list[Row] = []
        for row in found:
            faults = self._check(row)
            if faults:
                rejections.append(Rejection(assignment, row.record, faults, row.size_bytes))
            else:
                rows.append(row)
        return rows, rejections

    def _read(
        self,
        assignment: Assignment,
        records: Sequence[Record],
        now: Now,
        drift: ContractDrift,
    ) -> tuple[list[Row], list[Rejection]]:
        first = ContractDrift()
        intake = self._parts[assignment.topic].intake
        rows, rejections = intake.read(assignment, records, now, first)
        unknown = self._applications_to_accept(rejections)
        if unknown:
            self._add_applications(unknown)
            intake = self._parts[assignment.topic].intake
            return intake.read(assignment, records, now, drift)
        add_drift(first, drift)
        return rows, rejections

    def _applications_to_accept(self, rejections: Iterable[Rejection]) -> set[int]:
        if self._unknown_applications is UnknownApplications.REJECT:
            return set()
        return {
            int(fault.found)
            for rejection in rejections
            for fault in rejection.faults
            if fault.reason is Reason.UNKNOWN_APPLICATION
        }

    def _add_applications(self, numbers: Iterable[int]) -> None:
        api = self._settings.appmetrica
        (placeholder, *_) = api.applications.values()
        applications = {**dict.fromkeys(numbers, placeholder), **api.applications}
        self._settings = self._settings.model_copy(
            update={"appmetrica": api.model_copy(update={"applications": applications})}
        )
        for topic, route in self.routes.items():
            intake = route_parts(self._settings, route).intake
            self._parts[topic] = replace(self._parts[topic], intake=intake)


def by_content(rows: Iterable[Row]) -> int:
    """How many of these rows have their content as their key."""
    return sum(row.key_source is KeySource.CONTENT for row in rows)


class Validation:
    """Validates a file, chunk by chunk.

    Args:
        dry_run: the routes.
        topic: the route of records that name no topic, or a topic without a route.
        is_routed: True if a record's own topic chooses its route.
        is_each: True if valid records have a result too.
        take: takes the results.
        take_rows: takes the rows that would be delivered.
    """

    def __init__(
        self,
        dry_run: DryRun,
        topic: str,
        *,
        is_routed: bool,
        is_each: bool,
        take: Callable[[RecordResult], None],
        take_rows: Callable[[Sequence[Row]], None],
    ) -> None:
        self._dry_run = dry_run
        self._topic = topic
        self._is_routed = is_routed
        self._is_each = is_each
        self._take = take
        self._take_rows = take_rows
        self.summary = Summary()

    def validate(self, chunk: Chunk, now: Now) -> None:
        """Validate a chunk."""
        self.summary.records += len(chunk)
        results: list[RecordResult] = []
        for topic, records in self._by_topic(chunk, results).items():
            time = self._dry_run.routes[topic].time
            is_dated_by_record = time is not None and time.default == "record"
            parts = self._dry_run.parts(topic)
            selected, skipped = parts.intake.select(
                _written_now(records, now) if is_dated_by_record else records
            )
            drift = ContractDrift()
            assignment = Assignment(topic, 0, NO_EPOCH)
            rows, rejections = self._dry_run.read(assignment, selected, now, drift)
            self.summary.note(drift, rejections, self._dry_run.routes[topic])
            self.summary.skipped += len(skipped)
            fresh = parts.window.admit(rows, now.monotonic_seconds).fresh
            # Each row counts as delivered at once, so a later row with its key is a duplicate.
            parts.window.deliver([row.key for row in fresh], now.monotonic_seconds)
            self.summary.delivered += len(fresh)
            self.summary.duplicates += len(rows) - len(fresh)
            self.summary.duplicates_by_content += by_content(rows) - by_content(fresh)
            self._take_rows(fresh)
            results += map(_rejected, rejections)
            if self._is_each:
                results += _accepted(rows, fresh)
                results += [
                    RecordResult(one.record.offset, None, False, (), skipped=one.reason)
                    for one in skipped
                ]
        for result in sorted(results, key=lambda one: one.line):
            if result.faults:
                self.summary.bad += 1
                self.summary.by_reason[result.faults[0].reason] += 1
            self._take(result)

    def _by_topic(self, chunk: Chunk, results: list[RecordResult]) -> dict[str, list[FileRecord]]:
        found: dict[str, list[FileRecord]] = {}
        for record in chunk:
            if isinstance(record, Unreadable):
                results.append(
                    RecordResult(
                        record.line, None, False, (RecordFault(UNREADABLE, "", record.message),)
                    )
                )
                continue
            topic = (
                record.topic if self._is_routed and record.topic in self._dry_run.routes else None
            )
            found.setdefault(topic or self._topic, []).append(record)
        return found


def _written_now(records: Sequence[FileRecord], now: Now) -> list[FileRecord]:
    """The records; those to which the file gives no time are written to Kafka now."""
    milliseconds = int(now.unix_seconds * 1000)
    return [
        record if record.timestamp > 0 else msgspec.structs.replace(record, timestamp=milliseconds)
        for record in records
    ]


def _rejected(rejection: Rejection) -> RecordResult:
    faults = tuple(
        RecordFault(one.reason.value, one.field, one.message) for one in rejection.faults
    )
    return RecordResult(rejection.record.offset, None, False, faults)


def _accepted(rows: Sequence[Row], fresh: Sequence[Row]) -> Iterable[RecordResult]:
    first = set(map(id, fresh))
    return [
        RecordResult(
            row.record.offset,
            row.key.hex(),
            id(row) not in first,
            (),
            row.key_source.value,
        )
        for row in rows
    ]

"""What the worker would do with records: with one, or with all records of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import msgspec

from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import NO_EPOCH, Assignment, Record, Skipped, SkipReason
from worker.core.model.row import KeySource, Row
from worker.core.route import Route
from worker.daemon.pipeline_parts import route_parts
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import RecordFault
from worker.tools.dead_letters.scan import named_applications
from worker.tools.file_formats import Chunk, FileRecord, Unreadable

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
        self, assignment: Assignment, records: Sequence[Record], now: Now
    ) -> tuple[Sequence[Row], Sequence[Rejection]]:
        """The rows and the rejections of records. The topic must have a route."""
        found, rejections = self._read(assignment, records, now)
        rows: list[Row] = []
        for row in found:
            faults = self._check(row)
            if faults:
                rejections.append(Rejection(assignment, row.record, faults, row.size_bytes))
            else:
                rows.append(row)
        return rows, rejections

    def _read(
        self, assignment: Assignment, records: Sequence[Record], now: Now
    ) -> tuple[list[Row], list[Rejection]]:
        rows, rejections = self._parts[assignment.topic].intake.read(assignment, records, now)
        if self._unknown_applications is UnknownApplications.REJECT:
            return rows, rejections
        unknown = {
            int(fault.found)
            for rejection in rejections
            for fault in rejection.faults
            if fault.reason is Reason.UNKNOWN_APPLICATION
        }
        if not unknown:
            return rows, rejections
        self._add_applications(unknown)
        return self._parts[assignment.topic].intake.read(assignment, records, now)

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


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What the worker would do with a record.

    It has a `key` (hexadecimal), faults, or a reason why it is skipped; a duplicate has a key too.
    `by` is what the key is made of: `key` (the producer's own), `content`, or `record` (it is a
    duplicate of no other).
    """

    line: int
    key: str | None
    is_duplicate: bool
    faults: tuple[RecordFault, ...]
    by: str | None = None
    skipped: SkipReason | None = None

    def document(self) -> dict[str, object]:
        """The result as a JSON document."""
        ending = "delivered"
        if self.skipped is not None:
            ending = f"skipped, {self.skipped.value}"
        elif self.faults:
            ending = "dead-lettered"
        elif self.is_duplicate:
            ending = "duplicate"
        faults = [
            {"reason": one.reason, "field": one.field, "message": one.message}
            for one in self.faults
        ]
        return {
            "line": self.line,
            "ending": ending,
            "key": self.key,
            "key_by": self.by,
            "faults": faults,
        }


@dataclass(slots=True)
class Summary:
    """Counts of all results.

    `by_reason` counts each invalid record once, by its first fault, as the worker does.
    """

    records: int = 0
    delivered: int = 0
    duplicates: int = 0
    duplicates_by_content: int = 0
    skipped: int = 0
    bad: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, object]:
        """The counts as a JSON document."""
        return {
            "records": self.records,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "duplicates_by_content": self.duplicates_by_content,
            "skipped": self.skipped,
            "bad": self.bad,
            "by_reason": dict(self.by_reason.most_common()),
        }


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
            rows, rejections = self._dry_run.read(Assignment(topic, 0, NO_EPOCH), selected, now)
            self.summary.skipped += len(skipped)
            fresh = parts.window.admit(rows, now.monotonic_seconds).fresh
            # Each row counts as delivered at once, so a later row with its key is a duplicate.
            parts.window.deliver(fresh, now.monotonic_seconds)
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

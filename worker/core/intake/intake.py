"""One route's intake: a chunk of records becomes rows and rejections."""

from __future__ import annotations

from collections.abc import Sequence

from worker.core.counters.counters import ContractDrift
from worker.core.intake import dedup_key
from worker.core.intake.cloud_event import open_cloud_event
from worker.core.intake.fields import MILLISECONDS_FROM
from worker.core.intake.forms import Opened, open_envelope
from worker.core.intake.line import Write, writer
from worker.core.intake.reader import Event, Faults, Reader
from worker.core.intake.rules import Form, IntakeRules
from worker.core.intake.time_window import TimeWindow
from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import Assignment, Record
from worker.core.model.row import RECORD_OVERHEAD_BYTES, Destination, Row
from worker.core.post_api.column import Kind
from worker.core.post_api.resource import Resource
from worker.core.wire.record_headers import is_replay

# What a value may be larger than its line: names, quotes, white space, escapes.
VALUE_EXTRA_BYTES_MAX = 1024 * 1024
# Milliseconds are no time of an event, whenever they are read.
ANY_TIME = TimeWindow(earliest=0, latest=MILLISECONDS_FROM - 1)


class _Line:
    """What there is to know of a resource's lines: how they are written, and where in their cells
    stands what.
    """

    __slots__ = ("known", "timestamp", "write")

    def __init__(self, resource: Resource, write: Write) -> None:
        self.write = write
        # A line has one identity cell, in second place: every column but the first stands one
        # further than in the table.
        places = {index + (index > 0): column for index, column in enumerate(resource.columns)}
        self.timestamp = next(
            (index for index, column in places.items() if column.kind is Kind.TIMESTAMP), None
        )
        self.known = tuple(
            (index, column.name, frozenset((*column.known, "")))
            for index, column in places.items()
            if column.known
        )


class Intake:
    """Reads the records of one route.

    Pure: the same records at the same time give the same rows.
    """

    def __init__(self, rules: IntakeRules) -> None:
        self._rules = rules
        of_resources = {resource.name: rules.of(resource) for resource in rules.resources()}
        self._readers = {name: Reader(its_rules) for name, its_rules in of_resources.items()}
        self._lines = {
            name: _Line(its_rules.resource, writer(its_rules))
            for name, its_rules in of_resources.items()
        }
        # With a form of its own a record says where its event is; without, its value is the event.
        self._fast = self._readers[rules.resource.name].fast if rules.form is Form.JSON else None

    def read(
        self,
        assignment: Assignment,
        records: Sequence[Record],
        now: Now,
        remarks: ContractDrift | None = None,
    ) -> tuple[list[Row], list[Rejection]]:
        """Every record of the chunk, as a row or as a rejection, each list in offset order.

        Args:
            assignment: whose records they are.
            records: the chunk.
            now: the moment.
            remarks: takes note of what is unusual; None: nobody wants to know.
        """
        window = self._rules.window(now.unix_seconds)
        return self._read(
            assignment, records, now, window, remarks if remarks is not None else ContractDrift()
        )

    def read_again(self, assignment: Assignment, records: Sequence[Record], now: Now) -> list[Row]:
        """The rows of records that an earlier owner has settled.

        Their age was judged by then, and isn't again.
        """
        rows, _ = self._read(assignment, records, now, ANY_TIME, ContractDrift())
        return rows

    def _read(
        self,
        assignment: Assignment,
        records: Sequence[Record],
        now: Now,
        window: TimeWindow,
        noted: ContractDrift,
    ) -> tuple[list[Row], list[Rejection]]:
        rows: list[Row] = []
        rejections: list[Rejection] = []
        fast = self._fast
        value_bytes_max = self._rules.row_bytes_max + VALUE_EXTRA_BYTES_MAX
        for record in records:
            value, identifier = record.value, None
            if value is not None and len(value) > value_bytes_max:
                # Without a look at it: to take 60 MB apart holds everything up for 300 ms, and
                # takes a multiple in memory.
                rejections.append(
                    Rejection(
                        assignment, record, (self._too_large("value", value),), held_bytes(record)
                    )
                )
                continue
            event: Event | Faults | None = (
                fast(value, window, noted) if fast is not None and value else None
            )
            if event is None:
                event, identifier = self._unusual(record, window, noted)
            row = (
                self._row(assignment, record, event, identifier, now, noted)
                if type(event) is tuple
                else event
            )
            if type(row) is Row:
                rows.append(row)
            elif type(row) is Faults:
                rejections.append(Rejection(assignment, record, row.faults, held_bytes(record)))
        return rows, rejections

    def _unusual(
        self, record: Record, window: TimeWindow, remarks: ContractDrift
    ) -> tuple[Event | Faults, bytes | None]:
        """What the fast pass didn't take, or takes only unwrapped: the event or all faults, and its
        name by the wrapping.
        """
        if self._rules.form is Form.JSON:
            return self._readers[self._rules.resource.name].thorough(
                record.value, window, remarks
            ), None
        opened = self._open(record)
        if opened.data is None:
            return Faults(opened.faults), None
        reader = self._readers[opened.resource or self._rules.resource.name]
        event = reader.fast(opened.data, window, remarks, opened.timestamp) or reader.thorough(
            opened.data, window, remarks, opened.timestamp
        )
        if opened.faults:
            return Faults(opened.faults + (event.faults if isinstance(event, Faults) else ())), None
        return event, opened.identifier

    def _open(self, record: Record) -> Opened:
        if self._rules.form is Form.ENVELOPE:
            return open_envelope(record.value, self._readers, self._rules.unknown_fields)
        return open_cloud_event(record)

    def _row(
        self,
        assignment: Assignment,
        record: Record,
        event: Event,
        identifier: bytes | None,
        now: Now,
        remarks: ContractDrift,
    ) -> Row | Faults:
        """The hot path's second half, once per record."""
        destination, cells, producer_key = event
        about = self._lines[destination.resource]
        event_timestamp = (
            int(cells[about.timestamp]) if about.timestamp is not None else _own_time(record, now)
        )
        for index, name, usual in about.known:
            if cells[index] not in usual:
                remarks.unusual_values[name] += 1
        destination, line = about.write(destination, cells)
        if len(line) > self._rules.row_bytes_max:
            return Faults((self._too_large("line", line),))
        key = self._key(
            record, destination, line, producer_key.encode() if producer_key else identifier
        )
        replay = bool(record.headers) and is_replay(record)
        return Row(
            assignment,
            record,
            destination,
            line,
            key,
            event_timestamp,
            held_bytes(record) + len(line),
            replay,
        )

    def _too_large(self, what: str, text: bytes) -> FieldFault:
        bytes_max = self._rules.row_bytes_max
        message = f"its {what} takes {len(text)} bytes; a row of a request may have {bytes_max}"
        return FieldFault(
            Reason.TOO_LARGE, "", message, f"at most {bytes_max} bytes", f"{len(text)} bytes"
        )

    def _key(
        self, record: Record, destination: Destination, line: bytes, identifier: bytes | None
    ) -> bytes:
        """The deduplication key: by the field, the header or the wrapping that names the event,
        else by its content.
        """
        if self._rules.key_header is not None:
            identifier = dedup_key.header(record, self._rules.key_header) or identifier
        if identifier:
            return dedup_key.of_producer(destination.application_id, identifier)
        return dedup_key.of_line(destination, line)


def _own_time(record: Record, now: Now) -> int:
    """The time of what has none of its own, in Unix seconds: its record's, or this moment."""
    return record.timestamp // 1000 if record.timestamp > 0 else int(now.unix_seconds)


def held_bytes(record: Record) -> int:
    """What holding this record costs, in bytes: its own bytes and the objects around them."""
    size = RECORD_OVERHEAD_BYTES + len(record.value or b"") + len(record.key or b"")
    if record.headers:
        # 120 bytes: a tuple, a str and a bytes object.
        size += sum([120 + len(name) + len(value or b"") for name, value in record.headers])
    return size

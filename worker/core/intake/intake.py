"""The intake of one route: a chunk of records becomes rows and rejections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from worker.core.counters.counters import ContractDrift
from worker.core.intake import dedup_key
from worker.core.intake.cloud_event import open_cloud_event
from worker.core.intake.dedup_key import UnusableKey
from worker.core.intake.event_time import MILLISECONDS_FROM
from worker.core.intake.fast_pass import ChunkReading, InvalidEvent, KeylessRow, ProducerKey
from worker.core.intake.forms import EnvelopeOpener, Unwrapped
from worker.core.intake.framing import unframe
from worker.core.intake.line import LineFormat
from worker.core.intake.reader import Reader, ValidEvent
from worker.core.intake.rules import Form, Framing, IntakeRules, TimeWindow, WithoutKey
from worker.core.intake.selection import Selection
from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import Assignment, Record, Skipped
from worker.core.model.row import RECORD_OVERHEAD_BYTES, Destination, KeySource, Row
from worker.core.post_api.resource import RESOURCES
from worker.core.wire.record_headers import is_replay, written_milliseconds

# How much larger than its line a value may be: names, quotes, white space, escapes.
VALUE_EXTRA_BYTES_MAX = 1024 * 1024
# What each fault behind the first takes, with its texts: up to 230 B, measured on CPython 3.11 and
# rounded up. The first fault takes less than the row that a rejected record doesn't have.
FAULT_BYTES = 250
# Milliseconds are never the time of an event.
ANY_TIME = TimeWindow(earliest=0, latest=MILLISECONDS_FROM - 1, now=0)


class Intake:
    """Reads the records of one route.

    Pure: the same records at the same time give the same rows.

    Args:
        rules: what a record must be.
        reader: reads the events of a resource; the fuzzer's own has no fast pass.
    """

    def __init__(self, rules: IntakeRules, reader: type[Reader] = Reader) -> None:
        self._rules = rules
        of_resources = {resource.name: rules.of(resource) for resource in rules.resources()}
        self._readers = {
            name: reader(its_rules, self._refuse_line, self._finish)
            for name, its_rules in of_resources.items()
        }
        self._lines = {name: LineFormat(its_rules) for name, its_rules in of_resources.items()}
        header = rules.key_header
        self._key_header = header.lower() if header is not None else None
        self._key_name = header or ", ".join(rules.key_fields)
        # With the form json and no framing, the value itself is the event.
        is_bare = rules.form is Form.JSON and rules.framing is Framing.NONE
        self._fast = self._readers[rules.resource.name].fast if is_bare else None
        self._envelopes = EnvelopeOpener(rules.envelope, self._readers, rules.unknown_fields)
        self._value_bytes_max = rules.row_bytes_max + VALUE_EXTRA_BYTES_MAX
        self._selection = Selection(
            rules.select, rules.tombstones, rules.framing, self._value_bytes_max
        )

    def select(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[Skipped]]:
        """The records that are events of the route, and those that are skipped.

        Called before `read`, which expects selected records.
        """
        return self._selection.split(records)

    def read(
        self,
        assignment: Assignment,
        records: Sequence[Record],
        now: Now,
        drift: ContractDrift | None = None,
    ) -> tuple[list[Row], list[Rejection]]:
        """The rows and the rejections of a chunk, each list in offset order.

        Args:
            assignment: the assignment of the records.
            records: the chunk.
            now: the moment.
            drift: counts what differs from the contract; None: it isn't counted.
        """
        window = self._rules.window(now.unix_seconds)
        drift = drift if drift is not None else ContractDrift()
        return self._read(ChunkReading(assignment, window, now, drift), records)

    def read_again(self, assignment: Assignment, records: Sequence[Record], now: Now) -> list[Row]:
        """The rows of records that an earlier owner has settled, as far as they are selected.

        Their age was checked when they were settled, and isn't checked again.
        """
        selected, _ = self.select(records)
        rows, _ = self._read(ChunkReading(assignment, ANY_TIME, now, ContractDrift()), selected)
        return rows

    def _read(
        self, reading: ChunkReading, records: Sequence[Record]
    ) -> tuple[list[Row], list[Rejection]]:
        rows: list[Row] = []
        rejections: list[Rejection] = []
        fast, value_bytes_max = self._fast, self._value_bytes_max
        for record in records:
            value = record.value
            row: Row | InvalidEvent | None = None
            if value:
                if len(value) > value_bytes_max:
                    # Without reading it: parsing 60 MB blocks the event loop for 300 ms, and takes
                    # a multiple in memory.
                    row = InvalidEvent((self._too_large("value", value),))
                elif fast is not None:
                    row = fast(reading, record, value)
            if row is None:
                row = self._unusual(reading, record)
            if type(row) is Row:
                rows.append(row)
            elif type(row) is InvalidEvent:
                size_bytes = held_bytes(record) + FAULT_BYTES * (len(row.faults) - 1)
                rejections.append(Rejection(reading.assignment, record, row.faults, size_bytes))
        return rows, rejections

    def _unusual(self, reading: ChunkReading, record: Record) -> Row | InvalidEvent:
        """Read a record that the fast pass didn't accept, or that is wrapped."""
        value = unframe(record.value, self._rules.framing) if record.value else record.value
        if isinstance(value, FieldFault):
            return InvalidEvent((value,))
        unwrapped = self._unwrap(record, value)
        data = unwrapped.data
        if data is None:
            return InvalidEvent(unwrapped.faults)
        reader = self._readers[unwrapped.resource or self._rules.resource.name]
        if self._rules.is_dated_by_record and not reader.has_time(data):
            unwrapped = _dated(unwrapped, record)
        if not unwrapped.faults:
            is_bare = data is record.value and not unwrapped.is_dated_by_record
            row = None if is_bare else reader.fast(reading, record, data, unwrapped)
            if row is None:
                row = reader.fast_leniently(reading, record, data, unwrapped)
            if row is not None:
                return row
        event = reader.thorough(data, reading.window, reading.drift, unwrapped.timestamp)
        if unwrapped.faults:
            found = event.faults if isinstance(event, InvalidEvent) else ()
            return InvalidEvent(unwrapped.faults + found)
        if isinstance(event, InvalidEvent):
            return event
        return self._row(reading, record, event, unwrapped)

    def _unwrap(self, record: Record, value: bytes | msgspec.Raw | None) -> Unwrapped:
        match self._rules.form:
            case Form.JSON:
                # Empty, and not None: the missing value is reported as a fault of the event.
                return Unwrapped(value or b"")
            case Form.ENVELOPE:
                return self._envelopes.open(value)
            case Form.CLOUDEVENTS:
                return open_cloud_event(record.headers, value)

    def _row(
        self, reading: ChunkReading, record: Record, event: ValidEvent, unwrapped: Unwrapped
    ) -> Row | InvalidEvent:
        """The row of an event that the thorough pass has read."""
        destination, cells, producer_key = event
        line_format, drift = self._lines[destination.resource], reading.drift
        seconds = int(cells[line_format.timestamp]) if line_format.timestamp is not None else None
        for index, name, usual in line_format.known:
            if cells[index] not in usual:
                drift.unusual_values[name] += 1
        for index, name, exceeds, change in line_format.limited:
            if exceeds(cells[index]):
                drift.drift(line_format.event_name(cells), name, change)
        destination, line = line_format.write(destination, cells)
        if len(line) > self._rules.row_bytes_max:
            return self._refuse_line(line)
        return self._finish(reading, record, (destination, line, seconds), producer_key, unwrapped)

    def _finish(
        self,
        reading: ChunkReading,
        record: Record,
        keyless: KeylessRow,
        producer_key: ProducerKey,
        unwrapped: Unwrapped | None,
    ) -> Row | InvalidEvent:
        """Add its deduplication key to a row."""
        destination, line, seconds = keyless
        identifier = unwrapped.identifier if unwrapped is not None else None
        if type(producer_key) is str:
            identifier = producer_key.encode()
        if self._key_header is not None:
            identifier = dedup_key.header(record, self._key_header) or identifier
        if identifier:
            source, key = KeySource.KEY, dedup_key.of_producer(destination, identifier)
        else:
            found = self._without_key(producer_key, destination, reading.drift)
            if isinstance(found, InvalidEvent):
                return found
            source = found
            if unwrapped is not None and unwrapped.is_dated_by_record:
                # Two events without a time of their own may rightly have the same content.
                source = KeySource.RECORD
            key = (
                dedup_key.of_line(destination, line)
                if source is KeySource.CONTENT
                else dedup_key.of_record(reading.assignment, record, line)
            )
        replay = bool(record.headers) and is_replay(record)
        return Row(
            reading.assignment,
            record,
            destination,
            line,
            key,
            seconds if seconds is not None else _own_time(record, reading.now),
            held_bytes(record) + len(line),
            replay,
            source,
        )

    def _refuse_line(self, line: bytes) -> InvalidEvent:
        return InvalidEvent((self._too_large("line", line),))

    def _too_large(self, what: str, text: bytes) -> FieldFault:
        bytes_max = self._rules.row_bytes_max
        message = f"its {what} takes {len(text)} bytes; a row of a request may have {bytes_max}"
        return FieldFault(
            Reason.TOO_LARGE, "", message, f"at most {bytes_max} bytes", f"{len(text)} bytes"
        )

    def _without_key(
        self, why: object, destination: Destination, drift: ContractDrift
    ) -> KeySource | InvalidEvent:
        """What an event without a producer's key is deduplicated by, or its fault."""
        rule = self._rules.without_key
        if rule is not None:
            reason = why if isinstance(why, UnusableKey) else UnusableKey.MISSING
            drift.without_key[reason.value] += 1
            if rule is WithoutKey.REJECT:
                message = "required as the event's key: dedup.without_key is reject"
                expected = "a string or an integer"
                return InvalidEvent(
                    (FieldFault(Reason(reason.value), self._key_name, message, expected),)
                )
        has_content_key = self._rules.has_content_key(RESOURCES[destination.resource])
        return (
            KeySource.CONTENT
            if has_content_key and rule is not WithoutKey.NONE
            else KeySource.RECORD
        )


def _dated(unwrapped: Unwrapped, record: Record) -> Unwrapped:
    """The event with the time of its record, if neither wrapping nor event has a time."""
    written = written_milliseconds(record)
    if written <= 0 or unwrapped.timestamp is not None:
        return unwrapped
    return replace(unwrapped, timestamp=written // 1000, is_dated_by_record=True)


def _own_time(record: Record, now: Now) -> int:
    """The time of a row whose resource has no time, in Unix seconds: its record's, or now."""
    return record.timestamp // 1000 if record.timestamp > 0 else int(now.unix_seconds)


def held_bytes(record: Record) -> int:
    """The memory that a held record takes: its own bytes and the objects around them."""
    size = RECORD_OVERHEAD_BYTES + len(record.value or b"") + len(record.key or b"")
    if record.headers:
        # 120 bytes: a tuple, a str and a bytes object.
        size += sum([120 + len(name) + len(value or b"") for name, value in record.headers])
    return size

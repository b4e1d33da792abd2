"""Records, rows, batches and assignments for tests: valid by default, each detail open
to change.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.batching.batcher import header
from worker.core.intake.dedup_key import of_line
from worker.core.intake.rules import IntakeRules, UnknownFields
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.record import Assignment
from worker.core.model.row import RECORD_OVERHEAD_BYTES, Destination, Row
from worker.core.post_api.resource import EVENTS, Identity

UNIX_SECONDS = 1_700_000_000
APPLICATION_ID = 1111
TOPIC = "offline-events"
DESTINATION = Destination("events", APPLICATION_ID, Identity.PROFILE_ID)


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """A record as a broker would hand it over. `timestamp` in Unix milliseconds."""

    offset: int = 0
    value: bytes | None = None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int = UNIX_SECONDS * 1000


def now_at(monotonic_seconds: float = 0.0, *, unix_start: float = UNIX_SECONDS) -> Now:
    """A moment, so long after the start of the test."""
    return Now(monotonic_seconds, unix_start + monotonic_seconds)


def make_assignment(partition: int = 0, *, topic: str = TOPIC, epoch: int = 1) -> Assignment:
    """A partition that is ours."""
    return Assignment(topic, partition, epoch)


def make_event(**fields: object) -> dict[str, object]:
    """A valid event with these fields changed; a field given as `...` is left out."""
    event: dict[str, object] = {
        "application_id": APPLICATION_ID,
        "profile_id": "user-1",
        "event_name": "purchase",
        "event_timestamp": UNIX_SECONDS,
    }
    event.update(fields)
    return {name: value for name, value in event.items() if value is not ...}


def make_value(**fields: object) -> bytes:
    """The JSON text of `make_event`."""
    return json.dumps(make_event(**fields)).encode()


def make_record(
    offset: int = 0, *, value: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
) -> FakeRecord:
    """A record, by default of a valid event that no other offset shares."""
    return FakeRecord(
        offset, make_value(profile_id=f"user-{offset}") if value is None else value, headers=headers
    )


def make_rules(**changes: Any) -> IntakeRules:
    """The rules of a route of events with application 1111 and the documented limits."""
    rules: dict[str, Any] = {
        "resource": EVENTS,
        "applications": frozenset({APPLICATION_ID}),
        "unknown_fields": UnknownFields.REJECT,
        "key_header": None,
        "key_fields": (),
        "event_age_seconds_max": 1_209_600,
        "event_ahead_seconds_max": 86_400,
        "row_bytes_max": 1_000_000,
    }
    return IntakeRules(**(rules | changes))


def make_destination(
    application_id: int = APPLICATION_ID, identity: Identity = Identity.PROFILE_ID
) -> Destination:
    """Where rows of this application go."""
    return Destination("events", application_id, identity)


def make_row(
    offset: int = 0,
    *,
    assignment: Assignment | None = None,
    destination: Destination = DESTINATION,
    line: bytes | None = None,
    key: bytes | None = None,
    event_timestamp: int = UNIX_SECONDS,
    record: FakeRecord | None = None,
) -> Row:
    """A row; line and key differ by offset and partition unless given."""
    owner = assignment if assignment is not None else make_assignment()
    if line is None:
        cells = f"{destination.application_id},user-{owner.partition}-{offset},purchase"
        line = f"{cells},{event_timestamp}{',' * 19}\n".encode()
    return Row(
        assignment=owner,
        record=record if record is not None else FakeRecord(offset),
        destination=destination,
        line=line,
        key=key if key is not None else of_line(destination, line),
        event_timestamp=event_timestamp,
        size_bytes=RECORD_OVERHEAD_BYTES + len(line),
    )


def make_rows(count: int, *, start: int = 0, **changes: Any) -> list[Row]:
    """So many rows with offsets from `start` on."""
    return [make_row(offset, **changes) for offset in range(start, start + count)]


def make_batch(
    rows: int | Sequence[Row] = 1, *, batch_id: str = "batch-1", **changes: Any
) -> Batch:
    """A sealed batch of these rows, or of so many; its destination is that of the first row."""
    held = tuple(make_rows(rows, **changes)) if isinstance(rows, int) else tuple(rows)
    line = header(held[0].destination)
    return Batch(
        batch_id, held[0].destination, line, held, len(line) + sum(len(row.line) for row in held)
    )


def parse_csv(body: bytes) -> list[list[str]]:
    """The cells of a CSV text, as a strict reader of RFC 4180 sees them."""
    return list(csv.reader(io.StringIO(body.decode(), newline=""), strict=True))

"""Records, rows, batches and assignments for tests: valid by default, every detail changeable."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.batching.batcher import header
from worker.core.counters.counters import Counters, TopicCounters
from worker.core.delivery.limiter import DeliveryRules, LimiterRules
from worker.core.intake.dedup_key import of_line
from worker.core.intake.rules import IntakeRules, UnknownFields
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import Assignment
from worker.core.model.row import RECORD_OVERHEAD_BYTES, Destination, Row
from worker.core.post_api.resource import EVENTS, Identity
from worker.core.progress.ledger import Ledger, LedgerLimits

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


# The magic byte of Confluent's framing, and the id of a schema.
CONFLUENT = b"\0\0\0\1\7"


def connect_field(name: str, kind: str) -> dict[str, Any]:
    """A field in a schema of Kafka Connect."""
    return {"type": kind, "optional": True, "field": name}


# A message of Debezium's outbox event router with
# table.fields.additional.placement=type:envelope:eventType.
OUTBOX_ENVELOPE = {
    "schema": {
        "type": "struct",
        "fields": [connect_field("payload", "string"), connect_field("eventType", "string")],
        "optional": False,
        "name": "outbox.event.order",
    },
    "payload": {"payload": json.dumps(make_event()), "eventType": "OrderCreated"},
}


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


def make_delivery_rules(**changes: Any) -> DeliveryRules:
    """The rules of the delivery, as the settings have them without a configuration file."""
    rules: dict[str, Any] = {
        "limiter": LimiterRules(4, 1000),
        "retry_after_seconds_max": 300.0,
        "hold_probe_seconds": 30.0,
        "systemic_ratio": 0.5,
        "systemic_rows_min": 20,
        "bisect_requests_per_minute_max": 600,
        "event_age_seconds_max": 1_209_600,
        "request_seconds": 25.0,
    }
    return DeliveryRules(**(rules | changes))


def make_ledger(*topics: str, memory_bytes_max: int = 10**9, span_max: int = 1000) -> Ledger:
    """The ledger of these topics, with nothing assigned."""
    counters = Counters({topic: TopicCounters() for topic in topics})
    return Ledger(counters, LedgerLimits(memory_bytes_max, span_max, 100, 1.0))


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


def make_rejection(offset: int = 0, value: bytes = b"no JSON", *, topic: str = TOPIC) -> Rejection:
    """A record that is no JSON, with a key and a header of its own."""
    record = FakeRecord(offset, value, key=b"key", headers=(("own", b"header"),))
    fault = FieldFault(Reason.NOT_JSON, "", "no")
    return Rejection(make_assignment(topic=topic), record, (fault,), 100)


def make_rows(count: int, *, start: int = 0, **changes: Any) -> list[Row]:
    """This many rows with offsets from `start` on."""
    return [make_row(offset, **changes) for offset in range(start, start + count)]


def make_batch(
    rows: int | Sequence[Row] = 1, *, batch_id: str = "batch-1", **changes: Any
) -> Batch:
    """A sealed batch of these rows, or of this many; its destination is that of the first row."""
    held = tuple(make_rows(rows, **changes)) if isinstance(rows, int) else tuple(rows)
    line = header(held[0].destination)
    return Batch.of(batch_id, held[0].destination, line, held)


def parse_csv(body: bytes) -> list[list[str]]:
    """The cells of a CSV text, as a strict reader of RFC 4180 sees them."""
    return list(csv.reader(io.StringIO(body.decode(), newline=""), strict=True))

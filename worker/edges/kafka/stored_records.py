"""The form of the records that the worker writes: dead letters and parked records.

Both are the record as it was received. The headers of a dead letter say why it is rejected, and
those of a parked record where it was first received.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from hashlib import sha256

import orjson

from worker.core.model.event import (
    DeadLettersAcknowledged,
    DeadLettersFailed,
    Event,
    ParkingAcknowledged,
    ParkingFailed,
)
from worker.core.model.fault import FieldFault, Rejection
from worker.core.model.record import Record
from worker.core.model.row import Row
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX, REPLAYS, origin, own
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.producer import Outgoing
from worker.edges.kafka.writer import NoteWrite, TopicWriter, WriterSpec

# The bytes that are kept of the value, and of each header, of a record that is larger than its
# dead-letter topic accepts.
SHORTENED_VALUE_BYTES = 4096
SHORTENED_DETAIL_BYTES = 4096


def dead_letter_writer(
    connection: KafkaConnection,
    topics: Mapping[str, str],
    worker_version: str,
    post: Callable[[Event], None],
    note_write: NoteWrite[Rejection] | None = None,
) -> TopicWriter[Rejection]:
    """Make the writer for the dead-letter topics.

    Args:
        connection: the brokers.
        topics: the dead-letter topic of each topic.
        worker_version: for the header of that name.
        post: takes `DeadLettersAcknowledged` and `DeadLettersFailed`.
        note_write: takes note of each attempt.
    """
    form = _DeadLetterForm(topics, worker_version)
    return TopicWriter(
        connection,
        WriterSpec(form.outgoing, form.shortened, DeadLettersAcknowledged, DeadLettersFailed),
        post,
        note_write,
    )


class _DeadLetterForm:
    """Makes the record of a dead letter: whole, or with a part of its value."""

    def __init__(self, topics: Mapping[str, str], worker_version: str) -> None:
        self._topics = topics
        self._worker_version = worker_version

    def outgoing(self, rejection: Rejection) -> Outgoing:
        record = rejection.record
        headers = dead_letter_headers(rejection, self._worker_version)
        return Outgoing(
            self._topics[rejection.assignment.topic], record.key, record.value, headers, spread=None
        )

    def shortened(self, rejection: Rejection) -> Outgoing:
        """Return a dead letter with a part of its value.

        That is better than to pause consumption for a record that nobody can deliver. The headers
        name the source record, which stays in its topic until retention deletes it.
        """
        record = rejection.record
        value = record.value or b""
        kept = [
            (name, (data or b"")[:SHORTENED_DETAIL_BYTES])
            for name, data in dead_letter_headers(rejection, self._worker_version)
        ]
        note = orjson.dumps({"bytes": len(value), "sha256": sha256(value).hexdigest()})
        ours = [entry for entry in kept if entry[0].startswith(ERRORS_PREFIX)]
        return Outgoing(
            self._topics[rejection.assignment.topic],
            (record.key or b"")[:SHORTENED_VALUE_BYTES] or None,
            value[:SHORTENED_VALUE_BYTES],
            [*ours, (f"{ERRORS_PREFIX}shortened", note)],
        )


def dead_letter_headers(
    rejection: Rejection, worker_version: str
) -> list[tuple[str, bytes | None]]:
    """Return the record's headers, and the worker's in place of an earlier rejection's.

    A record that was parked is named by the place where it was first received.
    """
    record, assignment = rejection.record, rejection.assignment
    first = origin(record, assignment.topic, assignment.partition)
    ours = {
        "reason": rejection.reason.value.encode(),
        "detail": orjson.dumps([_detail(fault) for fault in rejection.faults]),
        "topic": first.topic,
        "partition": first.partition,
        "offset": first.offset,
        "timestamp": first.timestamp,
        "http_status": b"" if rejection.http_status is None else b"%d" % rejection.http_status,
        "worker_version": worker_version.encode(),
        "replays": replays(record),
    }
    return [*own(record), *((ERRORS_PREFIX + name, value) for name, value in ours.items())]


def _detail(fault: FieldFault) -> dict[str, str]:
    """Return a fault as JSON; `expected` and `found` only where it has them."""
    # Not asdict: it copies each value, and takes as long as all the rest of the headers.
    detail = {"reason": fault.reason.value, "field": fault.field, "message": fault.message}
    if fault.expected:
        detail["expected"] = fault.expected
    if fault.found:
        detail["found"] = fault.found
    return detail


def replays(record: Record) -> bytes:
    """Return how often this record was replayed from the dead-letter topic."""
    return next(
        (value for name, value in record.headers if name == REPLAYS and value is not None), b"0"
    )


def parking_writer(
    connection: KafkaConnection,
    topics: Mapping[str, str],
    applications: Collection[int],
    post: Callable[[Event], None],
    note_write: NoteWrite[Row] | None = None,
) -> TopicWriter[Row]:
    """Make the writer for the parking topics.

    Args:
        connection: the brokers.
        topics: the parking topic of each topic that has one.
        applications: all whose records may be parked. Each has a partition of its own in a topic
            with as many partitions.
        post: takes `ParkingAcknowledged` and `ParkingFailed`.
        note_write: takes note of each attempt.
    """
    # Of several applications on hold, one that has recovered must not wait behind another. By rank:
    # ids of any pattern may collide.
    ranks = {application_id: rank for rank, application_id in enumerate(sorted(applications))}

    def outgoing(row: Row) -> Outgoing:
        rank = ranks[row.destination.application_id]
        return Outgoing(
            topics[row.assignment.topic],
            row.record.key,
            row.record.value,
            parking_headers(row),
            spread=rank,
        )

    return TopicWriter(
        connection,
        WriterSpec(outgoing, None, ParkingAcknowledged, ParkingFailed),
        post,
        note_write,
    )


def parking_headers(row: Row) -> list[tuple[str, bytes | None]]:
    """Return the record's headers, and the worker's behind them."""
    record, assignment = row.record, row.assignment
    first = origin(record, assignment.topic, assignment.partition)
    kept = [(name, value) for name, value in record.headers if not name.startswith(PARKED_PREFIX)]
    ours = {
        "topic": first.topic,
        "partition": first.partition,
        "offset": first.offset,
        "timestamp": first.timestamp,
    }
    return [*kept, *((PARKED_PREFIX + name, value) for name, value in ours.items())]

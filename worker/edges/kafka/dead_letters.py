"""The form of a dead letter: the record as it came, and headers that say why it is rejected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import sha256

import orjson

from worker.core.model.event import DeadLettersAcknowledged, DeadLettersFailed, Event
from worker.core.model.fault import Rejection
from worker.core.model.record import Record
from worker.core.wire.record_headers import ERRORS_PREFIX, REPLAYS, origin, own
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.producer import Outgoing
from worker.edges.kafka.writer import TopicWriter, WriterSpec

# The bytes that are kept of the value, and of each header, of a record that is larger than its
# dead-letter topic accepts.
SHORTENED_VALUE_BYTES = 4096
SHORTENED_DETAIL_BYTES = 4096
# The keys of each fault in the header `detail` that are written even where they are empty.
ALWAYS_WRITTEN = frozenset({"reason", "field", "message"})


def dead_letter_writer(
    connection: KafkaConnection,
    topics: Mapping[str, str],
    worker_version: str,
    post: Callable[[Event], None],
) -> TopicWriter[Rejection]:
    """Make the writer for the dead-letter topics.

    Args:
        connection: the brokers.
        topics: the dead-letter topic of each topic.
        worker_version: for the header of that name.
        post: takes `DeadLettersAcknowledged` and `DeadLettersFailed`.
    """

    def outgoing(rejection: Rejection) -> Outgoing:
        record = rejection.record
        return Outgoing(
            topics[rejection.assignment.topic],
            record.key,
            record.value,
            headers(rejection, worker_version),
            spread=None,
        )

    def shortened(rejection: Rejection) -> Outgoing:
        """A dead letter with a part of its value.

        Better than consumption paused by a record that nobody can deliver. The headers name the
        source record, which stays in its topic until retention deletes it.
        """
        record = rejection.record
        value = record.value or b""
        kept = [
            (name, (data or b"")[:SHORTENED_DETAIL_BYTES])
            for name, data in headers(rejection, worker_version)
        ]
        note = orjson.dumps({"bytes": len(value), "sha256": sha256(value).hexdigest()})
        ours = [entry for entry in kept if entry[0].startswith(ERRORS_PREFIX)]
        return Outgoing(
            topics[rejection.assignment.topic],
            (record.key or b"")[:SHORTENED_VALUE_BYTES] or None,
            value[:SHORTENED_VALUE_BYTES],
            [*ours, (f"{ERRORS_PREFIX}shortened", note)],
        )

    return TopicWriter(
        connection,
        WriterSpec(outgoing, shortened, DeadLettersAcknowledged, DeadLettersFailed),
        post,
    )


def headers(rejection: Rejection, worker_version: str) -> list[tuple[str, bytes | None]]:
    """The record's own headers, and ours behind them in place of those of an earlier rejection.

    A record that was parked is named by the place where it was first received.
    """
    record, assignment = rejection.record, rejection.assignment
    first = origin(record, assignment.topic, assignment.partition)
    faults = [
        {name: text for name, text in asdict(one).items() if text or name in ALWAYS_WRITTEN}
        for one in rejection.faults
    ]
    ours = {
        "reason": rejection.reason.value.encode(),
        "detail": orjson.dumps(faults),
        "topic": first.topic,
        "partition": first.partition,
        "offset": first.offset,
        "timestamp": first.timestamp,
        "http_status": b"" if rejection.http_status is None else b"%d" % rejection.http_status,
        "worker_version": worker_version.encode(),
        "replays": replays(record),
    }
    return [*own(record), *((ERRORS_PREFIX + name, value) for name, value in ours.items())]


def replays(record: Record) -> bytes:
    """How often this record was replayed from the dead-letter topic, as its replay has noted."""
    return next(
        (value for name, value in record.headers if name == REPLAYS and value is not None), b"0"
    )

"""The headers that the worker writes to records, and how it reads them.

The names are fixed: dead letters and parked records outlive the worker that wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.model.record import Place, Record, TopicPartition

ERRORS_PREFIX = "__appmetrica.errors."
REPLAYS = f"{ERRORS_PREFIX}replays"
# Of a dead letter, and of its replay: when the source record was written.
WRITTEN = f"{ERRORS_PREFIX}timestamp"
PARKED_PREFIX = "__appmetrica.parked."
# Unix milliseconds have 13 digits; anybody may write a header.
_TIMESTAMP_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Origin:
    """The place at which a record was first received, as texts of headers.

    `timestamp` is in Unix milliseconds.
    """

    topic: bytes
    partition: bytes
    offset: bytes
    timestamp: bytes


def is_replay(record: Record) -> bool:
    """True if the record was sent again from a dead-letter topic.

    The event was refused once, so it is no duplicate of itself.
    """
    return any(name == REPLAYS for name, _ in record.headers)


def origin(record: Record, topic: str, partition: int) -> Origin:
    """Return the origin of a record: that in its headers if it was parked, or its own place."""
    # A header's value may be null, and any producer may write these names.
    noted = {
        name.removeprefix(PARKED_PREFIX): value
        for name, value in record.headers
        if value is not None and name.startswith(PARKED_PREFIX)
    }
    if {"topic", "partition", "offset", "timestamp"} <= noted.keys():
        return Origin(noted["topic"], noted["partition"], noted["offset"], noted["timestamp"])
    written = b"%d" % written_milliseconds(record)
    return Origin(topic.encode(), b"%d" % partition, b"%d" % record.offset, written)


def written_milliseconds(record: Record) -> int:
    """When a producer wrote the record, in Unix milliseconds; not above 0 without a time.

    The copy of a record in a parking topic, and its replay, have a time of their own.
    """
    if record.headers:
        noted = dict(record.headers)
        for name in (f"{PARKED_PREFIX}timestamp", WRITTEN):
            text = noted.get(name) or b""
            if text.isdigit() and len(text) <= _TIMESTAMP_DIGITS_MAX:
                return int(text)
    return record.timestamp


def came_from(record: Record, received: TopicPartition) -> Place:
    """Return the place by which dead letters and parked records name this record.

    If the headers are unreadable, it is the place of the record itself.
    """
    first = origin(record, received.topic, received.partition)
    try:
        return Place(first.topic.decode(), int(first.partition), int(first.offset))
    except ValueError:
        return Place(received.topic, received.partition, record.offset)


def own(record: Record) -> list[tuple[str, bytes | None]]:
    """Return the producer's headers, without the headers that the worker has written."""
    return [
        (name, value)
        for name, value in record.headers
        if not name.startswith((ERRORS_PREFIX, PARKED_PREFIX))
    ]

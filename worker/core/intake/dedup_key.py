"""The deduplication key of an event: 16 bytes that are the same when the event is repeated.

It has 128 bits, because an event would be lost if it had the key of another event by chance: among
10^9 keys the probability is 10^-21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from hashlib import blake2b

from worker.core.model.record import Assignment, Record
from worker.core.model.row import ALL_COLUMNS, Destination
from worker.core.post_api.resource import RESOURCES, Identity

KEY_BYTES = 16

# A line doesn't contain its header: without this prefix, rows of different resources could have the
# same key.
_KINDS = {
    (resource, identity): f"{resource}\0{identity}\0".encode()
    for resource in RESOURCES
    for identity in Identity
}


class UnusableKey(Enum):
    """Why a record has no usable key of its producer; the labels of the metrics."""

    MISSING = "missing"
    WRONG_TYPE = "wrong_type"


def of_producer(destination: Destination, identifier: bytes) -> bytes:
    """The key of an event with a producer's id.

    It includes resource and application, because two applications may use the same ids, and a
    purchase and its refund may have the same order number. It needn't include the topic, because
    each topic has a window of its own.
    """
    scope = b"%s\0%d\0" % (destination.resource.encode(), destination.application_id)
    return blake2b(scope + identifier, digest_size=KEY_BYTES).digest()


def of_record(assignment: Assignment, record: Record, line: bytes) -> bytes:
    """The key of a row whose content may rightly be repeated (a profile): the place of its record.

    It includes the record's time and the line, because a log that lost its end has other records at
    the same offsets afterwards.
    """
    place = b"%d\0%d\0%d\0" % (assignment.partition, record.offset, record.timestamp)
    return blake2b(place + line, digest_size=KEY_BYTES).digest()


def joined(texts: Sequence[str]) -> str:
    """Make one id of the texts of several fields; empty if any text is empty.

    Each text is preceded by its length, so that two different lists never make the same id.
    """
    if len(texts) == 1:
        return texts[0]
    return "".join([f"{len(text)}:{text}" for text in texts]) if all(texts) else ""


def line_digest(resource: str, identity: Identity) -> Callable[[], blake2b]:
    """Return a function that begins the digest of a line with all columns.

    Updated with the line, the digest equals `of_line`. To copy a begun digest takes a third less
    time than to construct it.
    """
    return blake2b(_KINDS[resource, identity], digest_size=KEY_BYTES).copy


def of_line(destination: Destination, line: bytes) -> bytes:
    """The key of an event without a producer's id: the digest of its line and its columns."""
    resource, _, identity, filled = destination
    columns = b"%d\0" % filled if filled != ALL_COLUMNS else b""
    return blake2b(_KINDS[resource, identity] + columns + line, digest_size=KEY_BYTES).digest()


def header(record: Record, name: str) -> bytes | None:
    """The value of the record's last header of this name that isn't empty; None without one.

    Names are compared without regard to case: `name` must be in lower case.
    """
    for header_name, value in reversed(record.headers):
        if value and header_name.lower() == name:
            return value
    return None

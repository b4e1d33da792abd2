"""The deduplication key of an event: 16 bytes that are the same when the event comes again.

128 bits, because an event is lost if it shares its key with another by chance: among 10^9 keys the
probability is 10^-21.
"""

from __future__ import annotations

from hashlib import blake2b

from worker.core.model.record import Record
from worker.core.model.row import ALL_COLUMNS, Destination
from worker.core.post_api.resource import RESOURCES, Identity

KEY_BYTES = 16

# A line doesn't contain its header: without this, a row of one resource could have the key of a row
# of another.
_KINDS = {
    (resource, identity): f"{resource}\0{identity}\0".encode()
    for resource in RESOURCES
    for identity in Identity
}


def of_producer(application_id: int, identifier: bytes) -> bytes:
    """The key of an event with a producer's id.

    Per application: two applications may use the same ids.
    """
    return blake2b(b"%d\0" % application_id + identifier, digest_size=KEY_BYTES).digest()


def of_line(destination: Destination, line: bytes) -> bytes:
    """The key of an event without a producer's id: the digest of its line and its columns."""
    resource, _, identity, filled = destination
    columns = b"%d\0" % filled if filled != ALL_COLUMNS else b""
    return blake2b(_KINDS[resource, identity] + columns + line, digest_size=KEY_BYTES).digest()


def header(record: Record, name: str) -> bytes | None:
    """The value of the record's last header of this name; None if there is none or it is empty."""
    for header_name, value in reversed(record.headers):
        if header_name == name and value:
            return value
    return None

"""By what an event is recognised when it comes again: 16 bytes.

128 bits, because a key that two events share by chance is an event lost: among 10^9 keys the chance
is 10^-21.
"""

from __future__ import annotations

from hashlib import blake2b

from worker.core.model.record import Record
from worker.core.model.row import ALL_COLUMNS, Destination
from worker.core.post_api.resource import RESOURCES, Identity

KEY_BYTES = 16

# A line says nothing of its header: without this, a row of one resource could pass for one of
# another.
_KINDS = {
    (resource, identity): f"{resource}\0{identity}\0".encode()
    for resource in RESOURCES
    for identity in Identity
}


def of_producer(application_id: int, identifier: bytes) -> bytes:
    """The key of an event that its producer has named.

    Per application: two of them may count alike.
    """
    return blake2b(b"%d\0" % application_id + identifier, digest_size=KEY_BYTES).digest()


def of_line(destination: Destination, line: bytes) -> bytes:
    """The key of an event without a name of its own: the digest of all that would be sent, and of
    what its cells are.
    """
    resource, _, identity, filled = destination
    columns = b"%d\0" % filled if filled != ALL_COLUMNS else b""
    return blake2b(_KINDS[resource, identity] + columns + line, digest_size=KEY_BYTES).digest()


def header(record: Record, name: str) -> bytes | None:
    """The value of the record's last header of this name; None where there is none or
    it is empty.
    """
    for header_name, value in reversed(record.headers):
        if header_name == name and value:
            return value
    return None

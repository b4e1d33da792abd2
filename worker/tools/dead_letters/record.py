"""Reads a record of a dead-letter topic or a parking topic: its origin, reason and faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from worker.core.intake.paths import Path
from worker.core.model.record import Place, Record, TopicPartition
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX, REPLAYS

PARKED = "parked"
# The reason of a record that another program wrote.
FOREIGN = "foreign"
# The day and time of a record without a timestamp.
UNDATED = "undated"
NO_APPLICATIONS: Mapping[str, int | Path] = {}
APPLICATION_PATH: Path = ("application_id",)
T = TypeVar("T")


class RecordFault(msgspec.Struct, frozen=True):
    """A fault of a record: its reason code, the field, and a message."""

    reason: str
    field: str
    message: str


class Shortened(msgspec.Struct, frozen=True):
    """Size and digest of the whole value, where the dead letter holds only its start."""

    bytes: int
    sha256: str

    def is_start_of(self, record: Record) -> bool:
        """True if this record has the whole value.

        Another record is at the offset if the topic was deleted and created again.
        """
        return sha256(record.value or b"").hexdigest() == self.sha256


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A dead letter or a parked record.

    `reason` is a reason code, `parked`, or `foreign` for a record that this worker has not written.
    `origin` is the address of the source record, None if the headers don't name it.
    `application_id` is the route's, or read from the value, or None.
    """

    place: Place
    record: Record
    reason: str
    faults: tuple[RecordFault, ...]
    origin: Place | None
    replays: int
    http_status: int | None
    worker_version: str
    application_id: int | None
    shortened: Shortened | None

    @property
    def day(self) -> str:
        """The day (UTC) on which it was written; `undated` without a timestamp."""
        written = calendar_time(self.record.timestamp / 1000)
        return UNDATED if written is None else written.date().isoformat()


_faults = msgspec.json.Decoder(tuple[RecordFault, ...])
_shortened = msgspec.json.Decoder(Shortened)
_value = msgspec.json.Decoder()


def calendar_time(unix_seconds: float) -> datetime | None:
    """This time in UTC; None if no calendar has it: a record's timestamp may be any number."""
    try:
        return datetime.fromtimestamp(unix_seconds, UTC) if unix_seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def read(
    partition: TopicPartition,
    record: Record,
    applications: Mapping[str, int | Path] = NO_APPLICATIONS,
) -> StoredRecord:
    """Read a record as a dead letter or a parked record.

    Args:
        partition: the partition that holds it.
        record: the record.
        applications: see `named_applications`.
    """
    # A header's value may be null, and any program may write these names.
    headers = {name: value for name, value in record.headers if value is not None}
    origin = _origin(headers)
    named = (
        applications.get(origin.topic, APPLICATION_PATH) if origin is not None else APPLICATION_PATH
    )
    return StoredRecord(
        place=Place(partition.topic, partition.partition, record.offset),
        record=record,
        reason=_reason(headers),
        faults=_faults_of(headers),
        origin=origin,
        replays=_number(headers.get(REPLAYS, b"")) or 0,
        http_status=_number(headers.get(f"{ERRORS_PREFIX}http_status", b"")),
        worker_version=headers.get(f"{ERRORS_PREFIX}worker_version", b"").decode(errors="replace"),
        application_id=named if isinstance(named, int) else application_of(record.value, named),
        shortened=_shortened_of(headers),
    )


def application_of(value: bytes | None, path: Path = APPLICATION_PATH) -> int | None:
    """The application that a value names, at its top level or in the `data` of an envelope."""
    top = _decoded(_value, value or b"")
    for found in (_follow(top, path), _follow(top, ("data", *path))):
        if isinstance(found, int | str) and not isinstance(found, bool):
            # A longer number is no application.
            return (
                _number(str(found).encode(errors="replace"))
                if isinstance(found, str) or 0 <= found < 2**63
                else None
            )
    return None


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes) -> T | None:
    """The decoded JSON; None if it is invalid or of another type: any program may write it."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _follow(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _reason(headers: Mapping[str, bytes]) -> str:
    reason = headers.get(f"{ERRORS_PREFIX}reason")
    if reason is not None:
        return reason.decode(errors="replace")
    return PARKED if f"{PARKED_PREFIX}topic" in headers else FOREIGN


def _faults_of(headers: Mapping[str, bytes]) -> tuple[RecordFault, ...]:
    # The detail of a shortened dead letter may be cut off.
    return _decoded(_faults, headers.get(f"{ERRORS_PREFIX}detail", b"[]")) or ()


def _shortened_of(headers: Mapping[str, bytes]) -> Shortened | None:
    return _decoded(_shortened, headers.get(f"{ERRORS_PREFIX}shortened", b""))


def _origin(headers: Mapping[str, bytes]) -> Place | None:
    for prefix in (ERRORS_PREFIX, PARKED_PREFIX):
        topic = headers.get(f"{prefix}topic", b"").decode(errors="replace")
        partition, offset = (
            _number(headers.get(f"{prefix}partition", b"")),
            _number(headers.get(f"{prefix}offset", b"")),
        )
        if topic and partition is not None and offset is not None:
            return Place(topic, partition, offset)
    return None


def _number(text: bytes) -> int | None:
    """A number of at most 63 bits; leading zeros are allowed."""
    digits = text.lstrip(b"0") or text[-1:]
    return int(digits) if text.isdigit() and len(digits) < 20 and int(digits) < 2**63 else None

"""A record of a dead-letter topic or of a parking topic, with what its headers say."""

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
# Somebody else writes into the topic too.
FOREIGN = "foreign"
# Instead of a day or a time, where a record has none.
UNDATED = "undated"
NOTHING_SAID: Mapping[str, int | Path] = {}
APPLICATION_PATH: Path = ("application_id",)
T = TypeVar("T")


class LetterFault(msgspec.Struct, frozen=True):
    """One thing that was wrong with the record, as the worker wrote it down."""

    reason: str
    field: str
    message: str


class Shortened(msgspec.Struct, frozen=True):
    """What the whole value was, of a letter that holds only its start."""

    bytes: int
    sha256: str

    def is_of(self, record: Record) -> bool:
        """True if this record has the whole value.

        Where a topic was made anew, something else stands at the offset.
        """
        return sha256(record.value or b"").hexdigest() == self.sha256


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A dead letter or a parked record.

    `reason` is a reason code, `parked`, or `foreign` for a record that this worker has not written.
    `origin` is where the record was first received, None where the headers don't say.
    `application_id` is the route's, or read from the value where that is possible.
    """

    place: Place
    record: Record
    reason: str
    faults: tuple[LetterFault, ...]
    origin: Place | None
    replays: int
    http_status: int | None
    worker_version: str
    application_id: int | None
    shortened: Shortened | None

    @property
    def day(self) -> str:
        """The day (UTC) on which it was written; `undated` where it doesn't say."""
        written = calendar_time(self.record.timestamp / 1000)
        return UNDATED if written is None else written.date().isoformat()


_faults = msgspec.json.Decoder(tuple[LetterFault, ...])
_shortened = msgspec.json.Decoder(Shortened)
_value = msgspec.json.Decoder()


def calendar_time(unix_seconds: float) -> datetime | None:
    """This moment in UTC; None for what no calendar has: a record's timestamp may be any number."""
    try:
        return datetime.fromtimestamp(unix_seconds, UTC) if unix_seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def read(
    partition: TopicPartition, record: Record, applications: Mapping[str, int | Path] = NOTHING_SAID
) -> StoredRecord:
    """The letter that this record is.

    Args:
        partition: where it lies.
        record: the record.
        applications: of topics whose routes say the application for all records, which it is, or
            where a value names it.
    """
    # A header's value may be null, and anybody may write these names.
    headers = {name: value for name, value in record.headers if value is not None}
    origin = _origin(headers)
    said = (
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
        application_id=said if isinstance(said, int) else application_of(record.value, said),
        shortened=_shortened_of(headers),
    )


def application_of(value: bytes | None, path: Path = APPLICATION_PATH) -> int | None:
    """The application that a value names, from its top or within the `data` of an envelope; None
    where that can't be read.
    """
    top = _decoded(_value, value or b"")
    for found in (_follow(top, path), _follow(top, ("data", *path))):
        if isinstance(found, int | str) and not isinstance(found, bool):
            # As text, for its digits; what is longer than any application is none.
            return (
                _number(str(found).encode(errors="replace"))
                if isinstance(found, str) or 0 <= found < 2**63
                else None
            )
    return None


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes) -> T | None:
    """What this JSON says; None where it is none, or not UTF-8, or too deep, or something else:
    anybody may have written it.
    """
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


def _faults_of(headers: Mapping[str, bytes]) -> tuple[LetterFault, ...]:
    # The detail of a shortened letter may be cut off.
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
    """A number of 63 bits at most; zeros may stand before it."""
    digits = text.lstrip(b"0") or text[-1:]
    return int(digits) if text.isdigit() and len(digits) < 20 and int(digits) < 2**63 else None

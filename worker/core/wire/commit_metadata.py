"""Commit metadata: the settled records of a partition, beside its committed position.

The next owner of the partition reads from it

  - which records above the position are settled already: a restart skips these records instead of
    delivering them a second time;
  - the floor, the offset from which the group has settled all records up to the position. Only
    these records may be taken for delivered: a group that began at the end, or whose position was
    set by hand, never received the records before.

The metadata only saves duplicates. It is ignored if it has another format, is damaged, or belongs
to another position.

    metadata = "1:" + base64url(floor + runs + crc32)   if all runs fit into the brokers' limit, by
                                                        default 4,096 characters
             = "2:" + base64url(floor + flags + crc32)  if they don't: in a scattered order each
                                                        settled record is a run
    floor    = position - floor, as a varint
    runs     = the lengths of alternating runs from the position on, open and settled by turns, as
               varints; the first is 0 if the record at the position was settled in an earlier life
               of the partition
    flags    = a bit for each offset from the position on, the lowest bit of each byte first; 1 if
               the record is settled

A bit for each offset has a known size. So a worker that reads no further ahead than `span_named`
can name all settled records, whatever the order in which they were settled.

The checksum covers the position as well: the metadata doesn't apply to a position that was set by
hand.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64Error
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from worker.core.model.record import Start

# offset.metadata.max.bytes of the broker, by default.
METADATA_CHARACTERS_MAX = 4096
RUNS_PREFIX, FLAGS_PREFIX = "1:", "2:"
_CHECKSUM_BYTES = 4
# A varint of more bytes doesn't come from here.
_VARINT_BYTES_MAX = 9
_SETTLED = re.compile("1+")


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """The metadata of a committed position.

    All records from `floor` up to the position are settled. `settled` are rising ranges above the
    position, each from its first offset to the offset after its last.
    """

    floor: int
    settled: tuple[tuple[int, int], ...] = ()

    def covers(self, offset: int, position: int) -> bool:
        """True if a record of this offset was settled when `position` was committed."""
        if offset < position:
            return offset >= self.floor
        index = bisect_right(self.settled, offset, key=lambda one: one[0]) - 1
        return index >= 0 and offset < self.settled[index][1]


def span_named(characters_max: int = METADATA_CHARACTERS_MAX) -> int:
    """The number of offsets that metadata of this length can always name.

    They are counted from the position on, with one flag for each.
    """
    return max(0, _payload_bytes_max(characters_max) - _VARINT_BYTES_MAX) * 8


def encode(
    position: int,
    floor: int,
    settled: Sequence[tuple[int, int]],
    characters_max: int = METADATA_CHARACTERS_MAX,
) -> str:
    """The metadata for a commit of `position`: of at most this many characters.

    Ranges, or parts of ranges, that don't fit are left out, the last ranges first: see
    `span_named`. If even the floor doesn't fit, the metadata is empty.
    """
    lead = _varint(position - floor)
    room = _payload_bytes_max(characters_max) - len(lead)
    if room < 0:
        return ""
    runs, run_end = _runs(position, settled, room)
    if not settled or run_end == settled[-1][1]:
        return _sealed(RUNS_PREFIX, position, lead + runs)
    if run_end >= position + room * 8:
        return _sealed(RUNS_PREFIX, position, lead + runs)
    return _sealed(FLAGS_PREFIX, position, lead + _flags(position, settled, room))


def _payload_bytes_max(characters_max: int) -> int:
    """Return the bytes that fit: base64 has four characters for three bytes."""
    return (characters_max - len(RUNS_PREFIX)) * 3 // 4 - _CHECKSUM_BYTES


def _runs(position: int, settled: Sequence[tuple[int, int]], room: int) -> tuple[bytes, int]:
    """Return the ranges that fit, as runs, and the end of the last range among them."""
    runs = bytearray()
    cursor = position
    for start, end in settled:
        run = _varint(start - cursor) + _varint(end - start)
        if len(runs) + len(run) > room:
            break
        runs += run
        cursor = end
    return bytes(runs), cursor


def _flags(position: int, settled: Sequence[tuple[int, int]], room: int) -> bytes:
    """Return a bit for each offset, as many as fit."""
    length = min(settled[-1][1] - position, room * 8)
    digits = bytearray(b"0" * length)
    for start, end in settled:
        first, last = start - position, min(end - position, length)
        if first >= length:
            break
        digits[first:last] = b"1" * (last - first)
    # Through a number in base 2, which Python reads and writes in one call.
    return int(digits[::-1], 2).to_bytes((length + 7) // 8, "little")


def _sealed(prefix: str, position: int, payload: bytes) -> str:
    return prefix + urlsafe_b64encode(
        payload + _checksum(prefix, position, payload)
    ).decode().rstrip("=")


def of(start: Start) -> CommitMetadata | None:
    """Return the last commit's metadata for a partition that starts now; None if it is unusable.

    Without a commit, or if reading doesn't continue at its position, it names no record.
    """
    nothing = CommitMetadata(floor=start.position)
    if start.committed is None or start.committed.offset != start.position:
        return nothing
    if not start.committed.metadata:
        return nothing
    metadata = decode(start.position, start.committed.metadata)
    if (
        metadata is not None
        and metadata.settled
        and start.end is not None
        and metadata.settled[-1][1] > start.end
    ):
        # The partition has lost settled records: other records have their offsets now.
        return None
    return metadata


def end(start: Start) -> int:
    """Return the end of the settled records: the position, or the end of the last range above."""
    known = of(start)
    return known.settled[-1][1] if known is not None and known.settled else start.position


def decode(position: int, metadata: str) -> CommitMetadata | None:
    """Return the metadata of a committed `position`; None if it is unusable."""
    prefix, text = metadata[: len(RUNS_PREFIX)], metadata[len(RUNS_PREFIX) :]
    if prefix not in (RUNS_PREFIX, FLAGS_PREFIX) or len(metadata) > METADATA_CHARACTERS_MAX:
        return None
    try:
        checked = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NotBase64Error, ValueError):
        return None
    payload, checksum = checked[:-_CHECKSUM_BYTES], checked[-_CHECKSUM_BYTES:]
    if checksum != _checksum(prefix, position, payload):
        return None
    return _of_runs(position, payload) if prefix == RUNS_PREFIX else _of_flags(position, payload)


def _of_runs(position: int, payload: bytes) -> CommitMetadata | None:
    numbers = _varints(payload)
    if not numbers or len(numbers) % 2 == 0 or 0 in numbers[2:] or numbers[0] > position:
        return None
    ranges = []
    cursor = position
    for open_run, settled_run in zip(numbers[1::2], numbers[2::2], strict=True):
        start = cursor + open_run
        cursor = start + settled_run
        ranges.append((start, cursor))
    return CommitMetadata(position - numbers[0], tuple(ranges))


def _of_flags(position: int, payload: bytes) -> CommitMetadata | None:
    # The lead ends with the first byte without the bit for "more follows".
    lead = next((index + 1 for index, byte in enumerate(payload) if byte < 0x80), 0)
    numbers = _varints(payload[:lead])
    if not numbers or numbers[0] > position:
        return None
    digits = f"{int.from_bytes(payload[lead:], 'little'):b}"[::-1]
    ranges = tuple(
        (position + run.start(), position + run.end()) for run in _SETTLED.finditer(digits)
    )
    return CommitMetadata(position - numbers[0], ranges)


def _checksum(prefix: str, position: int, payload: bytes) -> bytes:
    # It covers the prefix as well, except for runs: their form was the only one at first.
    about = b"%d:" % position if prefix == RUNS_PREFIX else b"%s%d:" % (prefix.encode(), position)
    return crc32(payload, crc32(about)).to_bytes(_CHECKSUM_BYTES, "big")


def _varint(number: int) -> bytes:
    """Encode a number in bytes of seven bits, the lowest first; the eighth bit: "more follows".

    Source: LEB128, as in Protocol Buffers.
    """
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _varints(payload: bytes) -> list[int] | None:
    numbers: list[int] = []
    number = shift = 0
    for byte in payload:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            if shift >= 7 * _VARINT_BYTES_MAX:
                return None
        else:
            numbers.append(number)
            number = shift = 0
    return numbers if shift == 0 else None

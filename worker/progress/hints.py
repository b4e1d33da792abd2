"""Hints: what a commit tells of a partition beside the position, for whoever reads it next, in the commit's metadata.

  - which records above the position are settled already: a restart skips them, instead of delivering them a second time;
  - from which offset on the group has settled everything below the position: only of these records may anybody believe that
    they were delivered. A group that began at the end, or whose position was set by hand, never saw those before it.

They only save duplicates: metadata that isn't ours, or is damaged, or stands beside another position is ignored.

    metadata = "1:" + base64url(varints + crc32)       at most 4,096 characters, the broker's own default bound
    varints  = position - floor, then open, settled, open, settled, …: lengths of alternating runs from the position on; the
               first is 0 where what follows was settled in an earlier life of the partition

The checksum covers the position as well: a position that somebody has set by hand doesn't take over the hints beside it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64Error
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from worker.model.record import Start

# offset.metadata.max.bytes of the broker.
METADATA_CHARACTERS_MAX = 4096
PREFIX = "1:"
_CHECKSUM_BYTES = 4
_PAYLOAD_BYTES_MAX = (METADATA_CHARACTERS_MAX - len(PREFIX)) // 4 * 3 - _CHECKSUM_BYTES
# A varint of more bytes doesn't come from here.
_VARINT_BYTES_MAX = 9


@dataclass(frozen=True, slots=True)
class Hints:
    """What stands beside a committed position.

    Everything from `floor` up to the position is settled. `settled` are ranges from the position on, each from its first offset
    to the one after its last, rising.
    """

    floor: int
    settled: tuple[tuple[int, int], ...] = ()

    def names(self, offset: int, position: int) -> bool:
        """True if a record of this offset was settled when `position` was committed."""
        if offset < position:
            return offset >= self.floor
        index = bisect_right(self.settled, offset, key=lambda one: one[0]) - 1
        return index >= 0 and offset < self.settled[index][1]


def encode(position: int, floor: int, settled: Sequence[tuple[int, int]]) -> str:
    """The metadata for a commit of `position`. Ranges that find no room are left out, the last ones first."""
    payload = bytearray(_varint(position - floor))
    cursor = position
    for start, end in settled:
        run = _varint(start - cursor) + _varint(end - start)
        if len(payload) + len(run) > _PAYLOAD_BYTES_MAX:
            break
        payload += run
        cursor = end
    checked = bytes(payload) + _checksum(position, bytes(payload))
    return PREFIX + urlsafe_b64encode(checked).decode().rstrip("=")


def of(start: Start) -> Hints | None:
    """What the last commit tells of a partition that starts now; None where its metadata can't be used.

    Without a commit, or where reading doesn't go on from it, nothing is known of any record.
    """
    nothing = Hints(floor=start.position)
    if start.committed is None or start.committed.offset != start.position:
        return nothing
    if not start.committed.metadata:
        return nothing
    hints = decode(start.position, start.committed.metadata)
    if hints is not None and hints.settled and start.end is not None and hints.settled[-1][1] > start.end:
        # The partition has lost records that were settled: what now stands at their offsets is something else.
        return None
    return hints


def end(start: Start) -> int:
    """Up to where the last commit names records as settled: the position, or the end of the last range above it."""
    known = of(start)
    return known.settled[-1][1] if known is not None and known.settled else start.position


def decode(position: int, metadata: str) -> Hints | None:
    """The hints that stand beside a committed `position`; None for metadata that can't be used."""
    if not metadata.startswith(PREFIX) or len(metadata) > METADATA_CHARACTERS_MAX:
        return None
    text = metadata.removeprefix(PREFIX)
    try:
        checked = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NotBase64Error, ValueError):
        return None
    payload, checksum = checked[:-_CHECKSUM_BYTES], checked[-_CHECKSUM_BYTES:]
    if checksum != _checksum(position, payload):
        return None
    return _hints(position, payload)


def _hints(position: int, payload: bytes) -> Hints | None:
    numbers = _varints(payload)
    if not numbers or len(numbers) % 2 == 0 or 0 in numbers[2:] or numbers[0] > position:
        return None
    ranges = []
    cursor = position
    for open_run, settled_run in zip(numbers[1::2], numbers[2::2], strict=True):
        start = cursor + open_run
        cursor = start + settled_run
        ranges.append((start, cursor))
    return Hints(position - numbers[0], tuple(ranges))


def _checksum(position: int, payload: bytes) -> bytes:
    return crc32(payload, crc32(b"%d:" % position)).to_bytes(_CHECKSUM_BYTES, "big")


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the eighth bit for "more follows". Source: LEB128, as in Protocol Buffers."""
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

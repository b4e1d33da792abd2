"""Hints: which records above the committed position are settled already, written into the commit's metadata.

A restart reads them and skips these records, instead of delivering them a second time. They only save duplicates: metadata that
isn't ours, or is damaged, or stands beside another position is ignored.

    metadata = "1:" + base64url(varints + crc32)       at most 4,096 characters, the broker's own default bound
    varints  = open, settled, open, settled, …         lengths of alternating runs from the committed position on

The checksum covers the position as well: a position that somebody has set by hand doesn't take over the hints beside it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from zlib import crc32

# offset.metadata.max.bytes of the broker.
METADATA_CHARACTERS_MAX = 4096
PREFIX = "1:"
_CHECKSUM_BYTES = 4
_PAYLOAD_BYTES_MAX = (METADATA_CHARACTERS_MAX - len(PREFIX)) // 4 * 3 - _CHECKSUM_BYTES
# A varint of more bytes doesn't come from here.
_VARINT_BYTES_MAX = 9

Ranges = Sequence[tuple[int, int]]


def encode(position: int, settled: Ranges) -> str:
    """The metadata for a commit of `position`. Ranges that find no room are left out, the last ones first.

    Args:
        position: the offset that is committed.
        settled: ranges of settled offsets, each from its first to the one after its last, rising, all above `position`.
    """
    payload = bytearray()
    cursor = position
    for start, end in settled:
        run = _varint(start - cursor) + _varint(end - start)
        if len(payload) + len(run) > _PAYLOAD_BYTES_MAX:
            break
        payload += run
        cursor = end
    if not payload:
        return ""
    checked = bytes(payload) + _checksum(position, bytes(payload))
    return PREFIX + urlsafe_b64encode(checked).decode().rstrip("=")


def decode(position: int, metadata: str) -> tuple[tuple[int, int], ...] | None:
    """The settled ranges that stand beside a committed `position`; None for metadata that can't be used."""
    if not metadata:
        return ()
    if not metadata.startswith(PREFIX) or len(metadata) > METADATA_CHARACTERS_MAX:
        return None
    text = metadata.removeprefix(PREFIX)
    try:
        checked = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NotBase64, ValueError):
        return None
    payload, checksum = checked[:-_CHECKSUM_BYTES], checked[-_CHECKSUM_BYTES:]
    if checksum != _checksum(position, payload):
        return None
    return _ranges(position, payload)


def _ranges(position: int, payload: bytes) -> tuple[tuple[int, int], ...] | None:
    runs = _varints(payload)
    if runs is None or len(runs) % 2 or 0 in runs:
        return None
    ranges = []
    cursor = position
    for open_run, settled_run in zip(runs[::2], runs[1::2], strict=True):
        start = cursor + open_run
        cursor = start + settled_run
        ranges.append((start, cursor))
    return tuple(ranges)


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

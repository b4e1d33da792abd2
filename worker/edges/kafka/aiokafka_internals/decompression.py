"""A bound for the decompressed size of a record batch.

aiokafka decompresses a batch of any size, in one go and on the event loop.

A batch of 25 KB can hold 800 MB of one byte. Fetch sizes count compressed bytes, and so does the
broker's own bound on a batch, so nothing else protects the process's memory from such a batch.
aiokafka has no setting and no hook for it, so the functions with which its record readers
decompress are replaced, in their modules alone.

A batch that can't be decompressed, for whatever reason, is damaged: a fault of its partition
alone, never of the process.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from functools import partial
from types import ModuleType

import cramjam
from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

# No block of the format expands further. Source: the LZ4 block format, "a length byte of 255 stands
# for 255 bytes".
LZ4_RATIO_MAX = 255
# The room of the first attempt, and the growth with each: text expands tenfold, and room costs time
# (it is zeroed).
FIRST_ROOM = 16
MORE_ROOM = 8
# Kafka's gzip: a header, unlike zlib's own format. Source: zlib manual, inflateInit2.
GZIP_WINDOW_BITS = 31

XERIAL_MAGIC = b"\x82SNAPPY\0"
XERIAL_HEADER_BYTES = 16


def bound_decompression(bytes_max: int) -> None:
    """Let no record batch that this process reads expand to more than `bytes_max`, from now on.

    A batch that would, and one that can't be decompressed, raises aiokafka's
    `CorruptRecordException` when it is read.
    """
    for module, name in REPLACED_FUNCTIONS:
        setattr(module, name, partial(_bounded, DECODERS[name], bytes_max))


def _bounded(
    decode: Callable[[bytes, int], bytes], bytes_max: int, payload: bytes | memoryview
) -> bytes:
    try:
        return decode(bytes(payload), bytes_max)
    except (cramjam.DecompressionError, zlib.error, EOFError, ValueError) as error:
        what = (
            f"a batch can't be decompressed into {bytes_max} bytes (kafka.batch_bytes_max): {error}"
        )
        raise CorruptRecordException(what) from None


def _gzip(payload: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    room = bytes_max
    while payload:
        member = zlib.decompressobj(GZIP_WINDOW_BITS)
        part = member.decompress(payload, room + 1)
        room -= len(part)
        if room < 0:
            raise ValueError("its content is larger")
        if not member.eof:
            raise EOFError("its end is missing")
        parts.append(part)
        payload = member.unused_data
    return b"".join(parts)


def _snappy(payload: bytes, bytes_max: int) -> bytes:
    # The decoder trusts the size that is written before the data, and allocates as much.
    if (
        sum(cramjam.snappy.decompress_raw_len(block) for block in _snappy_blocks(payload))
        > bytes_max
    ):
        raise ValueError("its content is larger")
    return codec.snappy_decode(payload)


def _lz4(payload: bytes, bytes_max: int) -> bytes:
    if len(payload) * LZ4_RATIO_MAX <= bytes_max:
        return codec.lz4_decode(payload)
    return _into_room(cramjam.lz4.decompress_into, payload, bytes_max)


def _zstd(payload: bytes, bytes_max: int) -> bytes:
    return _into_room(cramjam.zstd.decompress_into, payload, bytes_max)


def _into_room(
    decompress_into: Callable[[bytes, bytearray], int], payload: bytes, bytes_max: int
) -> bytes:
    """Decompress, with more room at each attempt until there is enough."""
    size = len(payload) * FIRST_ROOM
    while size < bytes_max:
        room = bytearray(size)
        try:
            return bytes(memoryview(room)[: decompress_into(payload, room)])
        except cramjam.DecompressionError:
            size *= MORE_ROOM
    room = bytearray(bytes_max)
    return bytes(memoryview(room)[: decompress_into(payload, room)])


def _snappy_blocks(payload: bytes) -> list[bytes]:
    """Return the blocks of Xerial's framing, or the whole payload without framing.

    Source: aiokafka's `snappy_decode`.
    """
    if not payload.startswith(XERIAL_MAGIC):
        return [payload]
    blocks = []
    position = XERIAL_HEADER_BYTES
    while position < len(payload):
        size = int.from_bytes(payload[position : position + 4], "big")
        position += 4
        blocks.append(payload[position : position + size])
        position += size
    return blocks


# By the names in the modules of aiokafka's record readers.
DECODERS = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _lz4,
    "zstd_decode": _zstd,
}


def _replaced_functions() -> tuple[tuple[ModuleType, str], ...]:
    # The batch classes come from compiled modules where there are any.
    default, legacy = (
        sys.modules[batch.__module__] for batch in (DefaultRecordBatch, LegacyRecordBatch)
    )
    # The older format has no zstd.
    names = [(default, name) for name in DECODERS]
    return *names, *((legacy, name) for name in DECODERS if name != "zstd_decode")


REPLACED_FUNCTIONS = _replaced_functions()

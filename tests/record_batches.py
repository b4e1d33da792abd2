"""Record batches as no well-behaved producer writes them.

With the way to get them into a topic, and to undo the bound on their decompression.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cramjam
from aiokafka import AIOKafkaProducer
from aiokafka.codec import lz4_encode
from aiokafka.record.util import calc_crc32c, encode_varint

from worker.edges.kafka.aiokafka_internals.decompression import REPLACED_FUNCTIONS
from worker.sandbox.topics import started

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CODECS = {"gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}


@dataclass(frozen=True, slots=True)
class RawRecord:
    """What a record holds, header names as bytes: nothing says that they are UTF-8."""

    value: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def batch(records: list[RawRecord], codec: int = 0) -> bytes:
    """A record batch of format 2 with a checksum that is right.

    Source: Kafka's documentation, "Record Batch" and "Record".
    """
    payload = b"".join(_record(number, record) for number, record in enumerate(records))
    body = struct.pack(
        ">hiqqqhii", codec, len(records) - 1, 0, 0, -1, -1, -1, len(records)
    ) + _compressed(payload, codec)
    checked = struct.pack(">ibI", 0, 2, calc_crc32c(body)) + body
    return struct.pack(">qi", 0, len(checked)) + checked


@contextmanager
def restored_decompression() -> Iterator[None]:
    """Undo at the end what `bound_decompression` has done meanwhile: it holds for the process."""
    functions = [(module, name, getattr(module, name)) for module, name in REPLACED_FUNCTIONS]
    try:
        yield
    finally:
        for module, name, function in functions:
            setattr(module, name, function)


async def publish_batch(bootstrap_servers: str, topic: str, raw: bytes, partition: int = 0) -> None:
    """Publish this very batch."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, max_request_size=64 * 1024 * 1024
    )
    async with started(producer):
        builder = producer.create_batch()
        builder.append(key=None, value=b"in its place", timestamp=0)
        builder._build = lambda: bytearray(raw)
        await (await producer.send_batch(builder, topic, partition=partition))


def _record(number: int, record: RawRecord) -> bytes:
    body = (
        b"\0"
        + _varint(0)
        + _varint(number)
        + _varint(-1)
        + _varint(len(record.value))
        + record.value
    )
    body += _varint(len(record.headers))
    for name, value in record.headers:
        body += _varint(len(name)) + name + _varint(len(value)) + value
    return _varint(len(body)) + body


def _varint(number: int) -> bytes:
    encoded = bytearray()
    encode_varint(number, encoded.append)
    return bytes(encoded)


def _compressed(payload: bytes, codec: int) -> bytes:
    match codec:
        case 1:
            return bytes(cramjam.gzip.compress(payload))
        case 2:
            return bytes(cramjam.snappy.compress_raw(payload))
        case 3:
            # Blocks that aren't linked: the broker takes no others.
            return lz4_encode(payload)
        case 4:
            return bytes(cramjam.zstd.compress(payload))
        case _:
            return payload

"""The bound of decompression, on batches as no well-behaved producer writes them."""

from __future__ import annotations

import os
import sys

import cramjam
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from tests.record_batches import CODECS, SNAPPY, RawRecord, batch, restored_decompression
from worker.edges.kafka.aiokafka_internals.decompression import (
    REPLACED_FUNCTIONS,
    bound_decompression,
)

MEGABYTE = 1024 * 1024
BOUND = 4 * MEGABYTE


def read_values(raw: bytes) -> list[bytes | None]:
    read = DefaultRecordBatch(raw)
    assert read.validate_crc()
    return [record.value for record in read]


@pytest.mark.parametrize("codec", [0, *CODECS.values()], ids=["none", *CODECS])
@pytest.mark.parametrize("size", [0, 1, 1000, MEGABYTE, BOUND - 100])
def test_what_stays_within_the_bound_is_read_as_it_is(codec: int, size: int) -> None:
    bound_decompression(BOUND)
    for value in (bytes(size), os.urandom(size // 2), b"some text, " * (size // 11)):
        assert read_values(batch([RawRecord(value), RawRecord(b"2")], codec)) == [value, b"2"]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("size", [BOUND, 40 * MEGABYTE])
def test_what_expands_beyond_the_bound_is_damaged(codec: int, size: int) -> None:
    bound_decompression(BOUND)
    with pytest.raises(
        CorruptRecordException,
        match=r"can't be decompressed into 4194304 bytes \(kafka.batch_bytes_max\)",
    ):
        read_values(batch([RawRecord(bytes(size))], codec))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize(
    "payload", [b"", b"garbage that no codec takes for its own", b"\x82SNAPPY\0" + b"\xff" * 30]
)
def test_what_is_no_compressed_data_is_damaged(codec: int, payload: bytes) -> None:
    bound_decompression(BOUND)
    whole = bytearray(batch([RawRecord(payload)]))
    whole[21:23] = codec.to_bytes(2, "big")
    with pytest.raises(CorruptRecordException):
        list(DefaultRecordBatch(bytes(whole)))


def test_a_size_that_lies_makes_no_room() -> None:
    bound_decompression(BOUND)
    whole = bytearray(batch([RawRecord(b"v")], SNAPPY))
    # Snappy's size comes first: 4 GB of two bytes.
    whole[61:63] = b"\xff\xff\xff\xff\x0f"
    with pytest.raises(CorruptRecordException, match="its content is larger"):
        list(DefaultRecordBatch(bytes(whole)))


def test_a_gzip_stream_of_several_members_is_read_and_bounded_as_one() -> None:
    bound_decompression(BOUND)
    module = sys.modules[DefaultRecordBatch.__module__]
    member = bytes(cramjam.gzip.compress(bytes(MEGABYTE)))
    assert module.gzip_decode(member * 4) == bytes(4 * MEGABYTE)
    with pytest.raises(CorruptRecordException):
        module.gzip_decode(member * 5)


def test_a_bound_of_a_test_does_not_reach_the_next_test() -> None:
    before = [getattr(module, name) for module, name in REPLACED_FUNCTIONS]
    with restored_decompression():
        bound_decompression(1)
        with pytest.raises(CorruptRecordException):
            read_values(batch([RawRecord(b"value")], SNAPPY))
    assert [getattr(module, name) for module, name in REPLACED_FUNCTIONS] == before

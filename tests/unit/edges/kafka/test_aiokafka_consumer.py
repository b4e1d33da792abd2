"""What is added to aiokafka's consumer: here the records that are handed on without a copy."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from worker.edges.kafka.aiokafka_internals.consumer import Fetched, hand_on_records

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Assigned:
    """An assignment of partitions that are read from offset 0 on."""

    active = True

    def __init__(self) -> None:
        self.state = SimpleNamespace(paused=False, position=0)
        self.state.consumed_to = lambda position: setattr(self.state, "position", position)

    def state_value(self, _: TopicPartition) -> Any:
        return self.state


def fetched(partition: TopicPartition) -> FetchResult:
    """A batch of three records."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 10_000)
    for offset in range(3):
        builder.append(offset, 1000 + offset, b"key", b"value", [("name", b"text"), ("none", None)])
    records = PartitionRecords(
        partition, MemoryRecords(bytes(builder.build())), [], 0, None, None, True, READ_COMMITTED
    )
    return FetchResult(partition, assignment=Assigned(), partition_records=records, backoff=0.1)


def consumer(**results: FetchResult) -> Any:
    """A consumer with a fetcher that has these results already."""
    fetcher = SimpleNamespace(
        _records=OrderedDict({FIRST: results["first"]} if results else {}),
        _closed=False,
        _create_fetch_waiter=asyncio.get_running_loop().create_future,
    )
    return SimpleNamespace(_fetcher=fetcher)


async def test_records_are_those_of_the_decoder_uncopied() -> None:
    reading = consumer(first=fetched(FIRST))
    hand_on_records(reading)
    reading._fetcher._records[SECOND] = fetched(SECOND)
    for partition in (FIRST, SECOND):
        records = reading._fetcher._records[partition].getall()
        assert {type(record) for record in records} == {DefaultRecord}
        assert [(record.offset, record.timestamp) for record in records] == [
            (0, 1000),
            (1, 1001),
            (2, 1002),
        ]
        assert {(record.key, record.value) for record in records} == {(b"key", b"value")}
        assert [list(record.headers) for record in records] == [
            [("name", b"text"), ("none", None)]
        ] * 3


async def test_a_chunk_ends_where_it_must_and_the_next_one_follows() -> None:
    reading = consumer()
    hand_on_records(reading)
    reading._fetcher._records[FIRST] = result = fetched(FIRST)
    assert [record.offset for record in result.getall(2)] == [0, 1]
    assert [record.offset for record in result.getall(2)] == [2]
    assert not result.has_more()


async def test_what_waits_is_seen_whenever_it_is_asked_for() -> None:
    reading = consumer(first=fetched(FIRST))
    waiting = Fetched(reading)
    hand_on_records(reading)
    reading._fetcher._records[SECOND] = FetchError(error=KafkaError(), backoff=0.1)
    assert waiting.ready() == [FIRST, SECOND]
    assert waiting.holds(SECOND)
    del reading._fetcher._records[FIRST]
    assert waiting.sizes() == {SECOND: 0}

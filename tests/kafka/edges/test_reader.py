"""The onlooker, on real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaProducer

from tests.source_reader import connection
from worker.core.model.record import Place, Position, TopicPartition
from worker.edges.kafka.reader import STOP_SECONDS_MAX, Span, TopicReader
from worker.sandbox.topics import create_topics, started


class Topic:
    """A topic of three partitions, and what writes to it."""

    def __init__(self, bootstrap_servers: str, name: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.name = name

    async def write(self, partition: int, *values: bytes, is_aborted: bool = False) -> None:
        """Write these in a transaction: its end takes an offset, too."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers, transactional_id=f"{self.name}-{partition}"
        )
        async with started(producer):
            await producer.begin_transaction()
            for value in values:
                await producer.send_and_wait(self.name, value, partition=partition)
            await (producer.abort_transaction() if is_aborted else producer.commit_transaction())


@pytest.fixture
async def topic(bootstrap_servers: str, new_topic: Callable[[str], str]) -> Topic:
    topic = Topic(bootstrap_servers, new_topic("reader"))
    await create_topics(bootstrap_servers, {topic.name: 3})
    await topic.write(0, b"a", b"b")
    await topic.write(0, b"aborted", is_aborted=True)
    await topic.write(2, b"c")
    return topic


@pytest.fixture
async def reader(topic: Topic) -> AsyncIterator[TopicReader]:
    async with TopicReader(connection(topic.bootstrap_servers)) as reader:
        yield reader


async def test_everything_is_read_once_one_span_after_the_other_or_in_turns(
    topic: Topic, reader: TopicReader
) -> None:
    spans = await reader.spans([topic.name, "not-there"])
    assert [(span.partition.partition, span.length) for span in spans] == [(0, 5), (1, 0), (2, 2)]
    in_order = [
        record.value
        async for _, records in reader.chunks(spans, records_max=1)
        for record in records
    ]
    in_turns = [record.value async for _, records in reader.mixed(spans) for record in records]
    assert in_order == [b"a", b"b", b"c"] and sorted(in_turns, key=str) == in_order


async def test_a_span_ends_where_it_says(topic: Topic, reader: TopicReader) -> None:
    span = Span(TopicPartition(topic.name, 0), 0, 1)
    assert [record.value async for _, records in reader.chunks([span]) for record in records] == [
        b"a"
    ]
    assert [record.value async for _, records in reader.mixed([span]) for record in records] == [
        b"a"
    ]


async def test_what_is_older_than_wanted_is_left_out(topic: Topic, reader: TopicReader) -> None:
    later = round(time.time() * 1000) + 60_000
    spans = await reader.spans([topic.name], since_milliseconds=later)
    assert [span.length for span in spans] == [0, 0, 0]
    assert (
        sum(
            span.length
            for span in await reader.spans([topic.name], since_milliseconds=later - 3_600_000)
        )
        == 7
    )


@pytest.mark.parametrize(
    ("partition", "offset", "value"),
    [(0, 1, b"b"), (0, 2, None), (0, 3, None), (0, 99, None), (9, 0, None)],
    ids=["there", "a marker", "aborted", "not written", "no such partition"],
)
async def test_a_record_is_found_by_its_place(
    partition: int, offset: int, value: bytes | None, topic: Topic, reader: TopicReader
) -> None:
    record = await reader.record(Place(topic.name, partition, offset))
    assert (record.value if record is not None else None) == value


async def test_positions_are_kept_by_a_group_that_nobody_joins(topic: Topic) -> None:
    group, partition = f"{topic.name}.group.one", TopicPartition(topic.name, 0)
    async with TopicReader(connection(topic.bootstrap_servers), group) as reader:
        assert await reader.committed(group, [partition]) == {partition: None}
        async for one, _ in reader.chunks([Span(partition, 0, 2)]):
            await reader.commit(one, Position(2, "beside it"))
        assert await reader.committed(group, [partition]) == {partition: Position(2, "beside it")}
        assert await reader.groups(f"{topic.name}.group.") == [group]


async def test_it_closes_while_its_partitions_change(topic: Topic) -> None:
    """The stop() of aiokafka waits for ever if it comes a moment after an assignment."""
    clock = asyncio.get_running_loop().time
    spans = [Span(TopicPartition(topic.name, number), 0, 1) for number in (0, 2)]
    for moments in range(4):
        reader = TopicReader(connection(topic.bootstrap_servers))
        async with reader:
            await anext(reader.chunks(spans[:1]))
            # A fetch that waits at the partition's end is under way by then.
            await asyncio.sleep(0.1)
            reading = asyncio.ensure_future(anext(reader.chunks(spans[1:])))
            for _ in range(moments):
                await asyncio.sleep(0)
            reading.cancel()
            began = clock()
            # Closed once more by the context; the cancellation of a time-out would be swallowed, so
            # the time is looked at.
            async with asyncio.timeout(STOP_SECONDS_MAX * 5):
                await reader.close()
            assert clock() - began < STOP_SECONDS_MAX * 4
        await asyncio.gather(reading, return_exceptions=True)

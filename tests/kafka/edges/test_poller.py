"""Failures to read, on real Kafka: a damaged batch, a missing topic, an unrecoverable consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as ClientPartition

from tests.source_reader import SourceReader, reading
from worker.core.model.event import (
    Assigned,
    Committed,
    Lost,
    OffsetsSkipped,
    Received,
    Revoked,
)
from worker.core.model.record import Position
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.receiver import PollOptions
from worker.errors import UnavailableError
from worker.sandbox.kafka import KafkaCluster
from worker.sandbox.kafka_node import KafkaNode
from worker.sandbox.topics import create_topics, publish, started

BATCH = 10
Records = dict[ClientPartition, list[ConsumerRecord[Any, Any]]]


@pytest.fixture(scope="module")
def node() -> Iterator[KafkaNode]:
    with KafkaCluster() as cluster:
        yield cluster.nodes[0]


def damage_second_batch(node: KafkaNode, topic: str) -> None:
    """Turn a bit in the second record batch of partition 0, while the broker is down.

    Source: the record batch's format: base offset (8 bytes), length of what follows (4 bytes), and
    the rest.
    """
    file = node.data_directory / f"{topic}-0" / "00000000000000000000.log"
    data = bytearray(file.read_bytes())
    first = 12 + int.from_bytes(data[8:12], "big")
    end = first + 12 + int.from_bytes(data[first + 8 : first + 12], "big")
    data[end - 1] ^= 1
    file.write_bytes(data)


async def damaged(node: KafkaNode, topic: str) -> None:
    """Three batches in partition 0, the second damaged; one batch in partition 1."""
    await create_topics(node.address, {topic: 2})
    for number in range(3):
        await publish(node.address, topic, [(b"a", b"%d" % number)] * BATCH)
    await publish(node.address, topic, [(b"d", b"v")] * BATCH)
    node.stop()
    damage_second_batch(node, topic)
    node.restart()


async def delete_topic(bootstrap_servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    async with started(admin):
        await admin.delete_topics([topic])
        for _ in range(200):
            if topic not in await admin.list_topics():
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"{topic} is still there")


async def add_partitions(bootstrap_servers: str, topic: str, count: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    async with started(admin):
        await admin.create_partitions({topic: NewPartitions(count)})


async def test_a_damaged_batch_stops_its_partition_alone(node: KafkaNode) -> None:
    await damaged(node, "stops")
    async with reading(SourceReader(node.address, "stops")) as reader:
        offsets = await reader.records(2 * BATCH)
        assert sorted(map(len, offsets.values())) == [BATCH, BATCH]
        for _ in range(100):
            if reader.source.partition_errors():
                break
            await reader.inbox.get(asyncio.get_running_loop().time() + 0.05)
        (problem,) = reader.source.partition_errors().items()
        assert problem[1].startswith("CorruptRecordException")
        await publish(node.address, "stops", [(b"d", b"v")] * 5)
        later = await reader.records(5)
        assert problem[0] not in {one.topic_partition for one in later}


async def test_a_damaged_batch_can_be_skipped_and_what_is_skipped_is_counted(
    node: KafkaNode,
) -> None:
    await damaged(node, "skips")
    options = PollOptions(100, skips_corrupt=True, stall_seconds=60)
    async with reading(SourceReader(node.address, "skips", poll=options)) as reader:
        offsets = await reader.records(3 * BATCH)
        skipped = [event for event in reader.seen if isinstance(event, OffsetsSkipped)]
    assert sum(event.count for event in skipped) == BATCH
    (assignment,) = {event.assignment for event in skipped}
    assert offsets[assignment] == [*range(BATCH), *range(2 * BATCH, 3 * BATCH)]


async def test_a_topic_that_is_missing_is_read_once_it_is_there(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    present, missing = new_topic("present"), new_topic("missing")
    await create_topics(bootstrap_servers, {present: 1})
    await publish(bootstrap_servers, present, [(b"k", b"v")] * 3)
    async with reading(
        SourceReader(bootstrap_servers, present, topics=(present, missing))
    ) as reader:
        await reader.records(3)
        await create_topics(bootstrap_servers, {missing: 1})
        await publish(bootstrap_servers, missing, [(b"k", b"v")] * 2)
        (assignment,) = (await reader.until_seen(Revoked)).assignments
        assert isinstance(await reader.source.commit({assignment: Position(3)}), Committed)
        reader.source.release((assignment,))
        async with asyncio.timeout(30.0):
            received: dict[str, int] = {}
            while received.get(missing, 0) < 2:
                event = await reader.until(Received)
                received[event.assignment.topic] = received.get(event.assignment.topic, 0) + len(
                    event.records
                )


async def test_a_topic_that_was_deleted_and_made_again_is_read_from_its_start(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("again")
    await create_topics(bootstrap_servers, {topic: 1})
    await publish(bootstrap_servers, topic, [(b"k", b"old")] * 20)
    async with reading(SourceReader(bootstrap_servers, topic, metadata_seconds=1.0)) as reader:
        await reader.records(20)
        await delete_topic(bootstrap_servers, topic)
        await create_topics(bootstrap_servers, {topic: 1})
        await publish(bootstrap_servers, topic, [(b"k", b"new")] * 5)
        values: list[bytes | None] = []
        async with asyncio.timeout(60.0):
            while len(values) < 5:
                event = await reader.until(Received)
                values += [record.value for record in event.records]
    assert values == [b"new"] * 5


async def test_a_partition_that_is_added_is_read_from_its_start(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("grows")
    await create_topics(bootstrap_servers, {topic: 1})
    async with reading(
        SourceReader(bootstrap_servers, topic, starts_at_latest=True, metadata_seconds=1.0)
    ) as reader:
        (start,) = (await reader.until(Assigned)).starts
        await reader.source.commit({start.assignment: Position(start.position)})
        await add_partitions(bootstrap_servers, topic, 2)
        await publish(bootstrap_servers, topic, [(b"%d" % number, b"v") for number in range(50)])
        received = 0
        async with asyncio.timeout(60.0):
            while received < 50:
                received += len((await reader.until(Received)).records)


async def test_a_consumer_that_fetches_nothing_is_replaced_and_nothing_is_lost(
    node: KafkaNode,
) -> None:
    await create_topics(node.address, {"stalls": 1})
    await publish(node.address, "stalls", [(b"k", b"v")] * 5)
    options = PollOptions(100, skips_corrupt=False, stall_seconds=2)
    async with reading(SourceReader(node.address, "stalls", poll=options)) as reader:
        await reader.records(5)
        # The broker is there and says nothing: connections stay, fetches hang.
        node.pause()
        try:
            async with asyncio.timeout(60.0):
                await reader.until(Lost)
        finally:
            node.resume()
        await publish(node.address, "stalls", [(b"k", b"v")] * 3)
        # Nothing was committed: the next consumer begins at the group's position.
        assert await reader.records(8)
        assert reader.source.rebuilds >= 1


class OnceCancelled(AIOKafkaConsumer):
    """As aiokafka does when a task of its own has died: it cancels what it was asked for."""

    is_healthy = False

    async def getmany(
        self, *partitions: ClientPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Records:
        """Cancelled the first time that a partition is asked for, whoever asks."""
        if partitions and not OnceCancelled.is_healthy:
            OnceCancelled.is_healthy = True
            raise asyncio.CancelledError
        return await super().getmany(*partitions, timeout_ms=timeout_ms, max_records=max_records)


class CancellingConnection(KafkaConnection):
    """Connects with such consumers."""

    def consumer(self, **options: Any) -> AIOKafkaConsumer:
        """Not yet started."""
        return OnceCancelled(**self.arguments(), **options)  # type: ignore[no-untyped-call]


class AlwaysCancelled(AIOKafkaConsumer):
    """Unrecoverable."""

    async def getmany(
        self, *partitions: ClientPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Records:
        """Always cancelled."""
        raise asyncio.CancelledError


class HopelessConnection(KafkaConnection):
    """Connects with such consumers."""

    def consumer(self, **options: Any) -> AIOKafkaConsumer:
        """Not yet started."""
        return AlwaysCancelled(**self.arguments(), **options)  # type: ignore[no-untyped-call]


async def test_with_one_unrecoverable_consumer_after_the_other_the_source_gives_up(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("hopeless")
    await create_topics(bootstrap_servers, {topic: 1})
    hopeless = HopelessConnection((bootstrap_servers,), "test", 9.0, KafkaSecurity())
    reader = SourceReader(hopeless, topic)
    running = asyncio.create_task(reader.run())
    async with asyncio.timeout(60.0):
        while not running.done():
            await reader.inbox.get(asyncio.get_running_loop().time() + 0.05)
    with pytest.raises(UnavailableError, match="replaced more than 3 times"):
        await running
    await reader.source.close()


async def test_a_member_without_partitions_gets_them_when_another_leaves(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("idle-member")
    await create_topics(bootstrap_servers, {topic: 1})
    await publish(bootstrap_servers, topic, [(b"k", b"v")] * 5)
    async with reading(SourceReader(bootstrap_servers, topic)) as second:
        await second.until(Assigned)
        async with reading(SourceReader(bootstrap_servers, topic)) as first:
            # Whichever has the partition now, the other one has none.
            for reader in (first, second):
                await reader.inbox.get(asyncio.get_running_loop().time() + 1.0)
        # Now it can only be this one, and it may have had nothing to poll for a while.
        assert await second.records(5)


async def test_a_consumer_that_cancels_what_it_is_asked_for_is_replaced(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("cancels")
    await create_topics(bootstrap_servers, {topic: 1})
    await publish(bootstrap_servers, topic, [(b"k", b"v")] * 5)
    cancelling = CancellingConnection((bootstrap_servers,), "test", 9.0, KafkaSecurity())
    reader = SourceReader(cancelling, topic)
    async with reading(reader):
        assert sum(map(len, (await reader.records(5)).values())) == 5
    assert reader.source.rebuilds == 1

"""The model agrees with real Kafka on records and topics: each history runs on both."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from verification.simulation.conformance import (
    ALL,
    Play,
    Stage,
    take,
)


def test_records_come_in_order_and_no_more_than_asked_for(play: Play) -> None:
    async def history(stage: Stage) -> None:
        values = [b"%d" % number for number in range(25)]
        await stage.append(0, *values)
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        taken: list[bytes] = []
        while len(taken) < len(values):
            got = (await reader.getmany(partition, timeout_ms=1000, max_records=10)).get(
                partition, []
            )
            assert len(got) <= 10
            taken += [cast(bytes, record.value) for record in got]
            if got:
                assert await reader.position(partition) == got[-1].offset + 1
        assert taken == values
        assert reader.last_stable_offset(partition) == 25
        assert await reader.getmany(partition, timeout_ms=100) == {}

    play(history)


def test_a_paused_partition_gives_nothing_until_it_is_resumed(play: Play) -> None:
    async def history(stage: Stage) -> None:
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        reader.pause(partition)
        assert reader.paused() == {partition}
        await stage.append(0, b"0")
        assert await reader.getmany(partition, timeout_ms=500) == {}
        reader.resume(partition)
        assert len(await take(reader, partition, 1)) == 1

    play(history)


def test_a_consumer_reads_on_from_where_it_seeks(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.append(0, b"0", b"1", b"2")
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        assert len(await take(reader, partition, 3)) == 3
        reader.seek(partition, 1)
        assert await reader.position(partition) == 1
        assert [record.offset for record in await take(reader, partition, 2)] == [1, 2]

    play(history)


def test_markers_take_offsets_and_are_never_seen(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.cluster.append_marked(stage.topic, 0, [b"0", b"1"])
        await stage.append(0, b"3")
        await stage.cluster.append_marked(stage.topic, 0, [b"4"])
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        assert [record.offset for record in await take(reader, partition, 4)] == [0, 1, 3, 4]
        assert (await reader.end_offsets([partition])) == {partition: 6}
        while await reader.position(partition) < 6:
            assert await reader.getmany(partition, timeout_ms=100) == {}

    play(history)


@pytest.mark.parametrize("offset", [0, 100])
def test_an_offset_out_of_range_is_an_error_once_per_fetch(play: Play, offset: int) -> None:
    async def history(stage: Stage) -> None:
        await stage.append(0, b"0", b"1", b"2")
        await stage.cluster.truncate(stage.topic, 0, 2)
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition)
        assert await reader.beginning_offsets([partition]) == {partition: 2}
        assert await reader.end_offsets([partition]) == {partition: 3}
        reader.seek(partition, offset)
        for _ in range(2):
            with pytest.raises(OffsetOutOfRangeError):
                await take(reader, partition, 1)
        assert await reader.position(partition) == offset
        reader.seek(partition, 2)
        assert [record.offset for record in await take(reader, partition, 1)] == [2]

    play(history)


def test_without_a_commit_there_is_no_position(play: Play) -> None:
    async def history(stage: Stage) -> None:
        member = await stage.member()
        with pytest.raises(NoOffsetForPartitionError):
            await take(member, stage.partition(0), 1)
        member.seek(stage.partition(0), 0)
        assert await member.position(stage.partition(0)) == 0

    play(history)


def test_an_empty_partition_begins_and_ends_at_0(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.append(1, b"0")
        member = await stage.member()
        asked = [stage.partition(0), stage.partition(1)]
        assert await member.beginning_offsets(asked) == {
            stage.partition(0): 0,
            stage.partition(1): 0,
        }
        assert await member.end_offsets(asked) == {stage.partition(0): 0, stage.partition(1): 1}
        assert member.last_stable_offset(stage.partition(0)) is None

    play(history)


def test_what_is_produced_comes_back_with_key_and_headers(play: Play) -> None:
    async def history(stage: Stage) -> None:
        options: dict[str, Any] = {
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": "lz4",
            "linger_ms": 5,
        }
        headers = [("name", b"one"), ("name", b"two"), ("empty", b"")]
        async with AIOKafkaProducer(
            bootstrap_servers=stage.cluster.bootstrap_servers, **options
        ) as producer:
            first = await producer.send(stage.topic, value=b"v" * 5000, key=b"k", headers=headers)
            second = await producer.send(stage.topic, value=None, key=b"k")
            written = await asyncio.gather(first, second)
        assert [one.offset for one in written] == [0, 1]
        assert written[0].topic_partition == written[1].topic_partition
        partition = written[0].topic_partition
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        whole, tombstone = await take(reader, partition, 2)
        assert (whole.key, whole.value, whole.headers) == (b"k", b"v" * 5000, tuple(headers))
        assert (whole.topic, whole.partition, whole.offset, whole.timestamp_type) == (
            *partition,
            0,
            0,
        )
        assert (tombstone.key, tombstone.value, tombstone.headers) == (b"k", None, ())

    play(history)


def test_topics_are_described(play: Play) -> None:
    async def history(stage: Stage) -> None:
        admin = await stage.clients.admin()
        ((described),) = await admin.describe_topics([stage.topic])
        assert described["topic"] == stage.topic
        assert described["error_code"] == 0
        assert {one["partition"] for one in described["partitions"]} == ALL
        expected = {"error_code", "partition", "leader", "replicas", "isr", "offline_replicas"}
        assert all(one.keys() == expected for one in described["partitions"])

    play(history)


def test_a_cluster_that_is_not_there_is_reported_at_the_start(play: Play) -> None:
    async def history(_stage: Stage) -> None:
        @asynccontextmanager
        async def lost() -> Any:
            # Port 1 is no one's, here and on the virtual network.
            consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1", group_id="lost")
            consumer.subscribe(topics=["lost"])
            try:
                yield consumer
            finally:
                await consumer.stop()

        async with lost() as consumer:
            with pytest.raises(KafkaConnectionError):
                await consumer.start()

    play(history)

"""Partitions without a leader wait, the others go on, and no consumer is replaced for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from tests.source_reader import SourceReader
from verification.simulation.kafka_faults import Answer, Fault
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.reading import TOPIC, append, play, reading_on, running, seen
from worker.core.model.event import Lost, OffsetsSkipped
from worker.edges.kafka.receiver import PollOptions

PARTITIONS = 6
STALL_SECONDS = 8.0
POLL = PollOptions(100, skips_corrupt=False, stall_seconds=STALL_SECONDS)
AWAY = (TopicPartition(TOPIC, 1), TopicPartition(TOPIC, 4))
THERE = (0, 2, 3, 5)


async def received(reader: SourceReader, count: int) -> Mapping[int, int]:
    """How many of the next records come from which partition."""
    offsets = await reader.records(count)
    return Counter({one.partition: len(taken) for one, taken in offsets.items()})


async def let_pass(reader: SourceReader, seconds: float) -> None:
    """Take every event of this time."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        reader.seen.append(await reader.inbox.get(until))


def test_partitions_that_are_away_at_the_start_hold_up_no_other_and_begin_when_they_are_back() -> (
    None
):
    async def history(kafka: ModelKafka) -> None:
        append(kafka, 10, PARTITIONS)
        for partition in AWAY:
            kafka.lose_leader(partition)
        async with running(kafka, poll=POLL) as reader:
            assert await received(reader, 40) == dict.fromkeys(THERE, 10)
            assert asyncio.get_running_loop().time() < 5
            assert set(reader.source.partition_errors()) == set(AWAY)
            await let_pass(reader, 10 * STALL_SECONDS)
            for partition in AWAY:
                kafka.find_leader(partition)
            assert await received(reader, 20) == {1: 10, 4: 10}
            assert reader.source.rebuilds == 0
            assert not reader.source.partition_errors()

    play(history, PARTITIONS)


def test_partitions_that_go_away_hold_up_no_other_and_go_on_when_they_are_back() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 10, PARTITIONS, poll=POLL) as reader:
            for partition in AWAY:
                kafka.lose_leader(partition)
            for _ in range(10):
                append(kafka, 1, PARTITIONS)
                assert await received(reader, 4) == dict.fromkeys(THERE, 1)
                await let_pass(reader, STALL_SECONDS)
            assert set(reader.source.partition_errors()) == set(AWAY)
            for partition in AWAY:
                kafka.find_leader(partition)
            assert await received(reader, 20) == {1: 10, 4: 10}
            await let_pass(reader, 1.0)
            assert not reader.source.partition_errors()
            assert reader.source.rebuilds == 0
            assert not seen(reader, Lost)

    play(history, PARTITIONS)


def test_a_consumer_whose_only_partition_is_away_is_not_to_blame() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 1, poll=POLL) as reader:
            kafka.lose_leader(TopicPartition(TOPIC, 0))
            await let_pass(reader, 30 * STALL_SECONDS)
            kafka.find_leader(TopicPartition(TOPIC, 0))
            append(kafka, 1)
            await received(reader, 1)
            assert reader.source.rebuilds == 0

    play(history, partitions=1)


def test_a_consumer_that_fetches_nothing_more_is_replaced() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 1, PARTITIONS, poll=POLL) as reader:
            assert reader.source._consumption is not None
            reader.source._consumption.consumer._fetcher._fetch_task.cancel()
            append(kafka, 1, PARTITIONS)
            await reader.until(Lost)
            assert STALL_SECONDS < asyncio.get_running_loop().time() < 3 * STALL_SECONDS
            # Nothing was committed.
            await received(reader, 12)

    play(history, PARTITIONS)


def test_a_consumer_does_not_ask_for_a_leader_as_often_as_brokers_answer() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 1, poll=POLL) as reader:
            kafka.lose_leader(TopicPartition(TOPIC, 0))
            before = kafka.requests["MetadataRequest_v5"]
            await let_pass(reader, 60.0)
            # Twice a second, and what the watchdog asks.
            assert kafka.requests["MetadataRequest_v5"] - before < 2.5 * 60

    play(history, partitions=1)


def test_a_consumer_is_not_replaced_while_nobody_can_resolve_an_offset_out_of_range() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 10, PARTITIONS, poll=POLL) as reader:
            append(kafka, 10, PARTITIONS)
            kafka.truncate(TOPIC, 1, 14)
            kafka.disturb(OffsetRequest, Fault(answer=Answer.NEVER))
            assert await received(reader, 56) == {1: 6, **dict.fromkeys((0, 2, 3, 4, 5), 10)}
            (skipped,) = seen(reader, OffsetsSkipped)
            assert skipped.count == 4
            assert reader.source.rebuilds == 0

    play(history, PARTITIONS)

"""What the client fetches ahead stays within its bound and delays nobody, on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.structs import TopicPartition

from tests.source_reader import SourceReader
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.reading import TOPIC, commit, play, running
from worker.core.model.event import Assigned, Received, Revoked, TailRead
from worker.edges.kafka.receiver import PollOptions

PARTITIONS = 60
RECORD_BYTES, RECORDS = 1000, 20
FETCHED_BYTES_MAX = 200_000
# What is on its way when the mark is passed: one answer of the only broker, which its last batch
# may overstep.
ANSWER_BYTES_MAX = 100_000
CHANGES = {
    "poll": PollOptions(
        5, skips_corrupt=False, stall_seconds=8, fetched_bytes_max=FETCHED_BYTES_MAX
    ),
    "fetch_bytes_max": ANSWER_BYTES_MAX,
}


def fill(kafka: ModelKafka) -> None:
    for partition in range(PARTITIONS):
        for _ in range(RECORDS):
            kafka.append(TOPIC, partition, b"k", b"v" * RECORD_BYTES)


def held_bytes(reader: SourceReader) -> int:
    assert reader.source._consumption is not None
    return sum(reader.source._consumption._poller._fetched.sizes().values())


async def peak_of(reader: SourceReader, seconds: int) -> int:
    peak = 0
    for _ in range(seconds * 10):
        await asyncio.sleep(0.1)
        peak = max(peak, held_bytes(reader))
    return peak


def test_with_all_partitions_paused_what_is_fetched_ahead_has_one_bound() -> None:
    async def history(kafka: ModelKafka) -> None:
        fill(kafka)
        async with running(kafka, **CHANGES) as reader:
            await reader.until(Assigned)
            reader.source.pause(reader.source._rebalances.ours)
            # The event before counts as handled only now.
            waiting = asyncio.ensure_future(reader.next())
            assert await peak_of(reader, 20) < FETCHED_BYTES_MAX + 2 * ANSWER_BYTES_MAX
            assert not waiting.done()
            assert reader.source.rebuilds == 0
            waiting.cancel()

    play(history, partitions=PARTITIONS)


def test_all_that_is_fetched_at_last_arrives_whatever_rested_meanwhile() -> None:
    async def history(kafka: ModelKafka) -> None:
        fill(kafka)
        async with running(kafka, **CHANGES) as reader:
            await reader.until(Assigned)
            ours = reader.source._rebalances.ours
            resting = frozenset(sorted(ours)[: PARTITIONS * 3 // 4])
            reader.source.pause(resting)
            received = dict.fromkeys(ours, 0)
            async with asyncio.timeout(60):
                while sum(received.values()) < RECORDS * (PARTITIONS - len(resting)):
                    event = await reader.until(Received)
                    received[event.assignment] += len(event.records)
            # What rests has filled the room once, and made it again.
            assert not any(received[assignment] for assignment in resting)
            reader.source.resume(resting)
            async with asyncio.timeout(60):
                while sum(received.values()) < RECORDS * PARTITIONS:
                    event = await reader.until(Received)
                    received[event.assignment] += len(event.records)
            assert reader.source.rebuilds == 0

    play(history, partitions=PARTITIONS)


def test_nothing_is_fetched_of_partitions_that_have_arrived_and_have_no_position_yet() -> None:
    async def history(kafka: ModelKafka) -> None:
        fill(kafka)
        for partition in range(PARTITIONS):
            commit(kafka, partition, 5)
        async with running(kafka, **CHANGES) as reader:
            # The tails stand still here, as long as nobody asks for the next event.
            await reader.until(TailRead)
            assert await peak_of(reader, 5) == 0
            assert await reader.records(PARTITIONS * (RECORDS - 5))

    play(history, partitions=PARTITIONS)


def test_nothing_is_fetched_while_a_revocation_lasts() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka, **CHANGES) as reader:
            await reader.until(Assigned)
            kafka.force_rebalance(TOPIC)
            await reader.until_seen(Revoked)
            fill(kafka)
            # Not released: the rebalance waits.
            assert await peak_of(reader, 3) <= ANSWER_BYTES_MAX + 2 * RECORD_BYTES
            assert await reader.records(PARTITIONS * RECORDS)

    play(history, partitions=PARTITIONS)


def test_nothing_is_fetched_while_the_brokers_are_asked_about_a_log() -> None:
    async def history(kafka: ModelKafka) -> None:
        kafka.append(TOPIC, 0, b"k", b"v")
        async with running(kafka, **CHANGES) as reader:
            await reader.records(1)
            consumption = reader.source._consumption
            assert consumption is not None
            ask = consumption._look_up

            async def slowly(*asked: Any) -> Any:
                fill(kafka)
                await asyncio.sleep(5)
                return await ask(*asked)

            consumption._look_up = slowly
            kafka.elect_uncleanly(TopicPartition(TOPIC, 0), 1)
            kafka.append(TOPIC, 0, b"k", b"v")
            waiting = asyncio.ensure_future(reader.next())
            assert await peak_of(reader, 5) <= ANSWER_BYTES_MAX + 2 * RECORD_BYTES
            waiting.cancel()

    play(history, partitions=PARTITIONS)


def test_no_batch_of_a_partition_that_rests_stays_expanded() -> None:
    async def history(kafka: ModelKafka) -> None:
        fill(kafka)
        async with running(kafka, **CHANGES) as reader:
            event = await reader.until(Received)
            while not event.records:
                event = await reader.until(Received)
            assert reader.source._consumption is not None
            poller = reader.source._consumption._poller
            reader.source.pause(frozenset({event.assignment}))
            later = await reader.until(Received)
            assert later.assignment != event.assignment
            assert poller._half_read != (event.assignment.topic, event.assignment.partition)

    play(history, partitions=PARTITIONS)

"""How partitions take turns, and what is fetched ahead, on model brokers and virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.structs import TopicPartition

from tests.source_reader import SourceReader
from tests.unit.edges.kafka.model_brokers import TOPIC, commit, play, running
from verification.simulation.kafka_model import UNIX_SECONDS, ModelKafka
from worker.core.model.event import Assigned, OffsetsSkipped, Received, Revoked, TailRead
from worker.edges.kafka.receiver import PollOptions

FIRST = TopicPartition(TOPIC, 0)
SKIPPING = PollOptions(100, skips_corrupt=True, stall_seconds=60)


def test_the_position_behind_what_is_skipped_at_the_end_of_a_partition_is_reported() -> None:
    async def history(kafka: ModelKafka) -> None:
        for _ in range(5):
            kafka.append(TOPIC, 0, b"k", b"{}")
        kafka.damage(FIRST, 3)
        kafka.damage(FIRST, 4)
        async with running(kafka, poll=SKIPPING) as reader:
            position = 0
            async with asyncio.timeout(60):
                while position < 5:
                    position = (await reader.until(Received)).next_offset
        assert sum(event.count for event in reader.seen if isinstance(event, OffsetsSkipped)) == 2

    play(history, partitions=1)


def test_a_damaged_partition_with_a_trickle_of_records_holds_up_no_other() -> None:
    async def history(kafka: ModelKafka) -> None:
        kafka.append(TOPIC, 0, b"k", b"{}")
        kafka.damage(FIRST, 0)
        clock = asyncio.get_running_loop().time
        delays = []
        async with running(kafka, poll=SKIPPING) as reader, asyncio.TaskGroup() as tasks:
            tasks.create_task(trickle(kafka))
            for _ in range(60):
                event = await reader.until(Received)
                while event.assignment.partition != 1:
                    event = await reader.until(Received)
                delays += [
                    clock() - record.timestamp / 1000 + UNIX_SECONDS for record in event.records
                ]
        assert max(delays) < 1.0

    async def trickle(kafka: ModelKafka) -> None:
        for _ in range(150):
            kafka.append(TOPIC, 0, b"k", b"{}")
            kafka.append(TOPIC, 1, b"k", b"{}")
            await asyncio.sleep(0.2)

    play(history, partitions=2)


def test_a_lost_offset_is_looked_after_in_the_middle_of_a_backlog() -> None:
    async def history(kafka: ModelKafka) -> None:
        for partition in range(40):
            for _ in range(20):
                kafka.append(TOPIC, partition, b"k", b"{}")
        commit(kafka, 0, 3)
        kafka.truncate(TOPIC, 0, 10)
        async with running(kafka) as reader:
            chunks = 0
            while not isinstance(event := await reader.next(), OffsetsSkipped):
                chunks += isinstance(event, Received)
                # Handling takes its time.
                await asyncio.sleep(0.2)
        assert chunks < 10

    play(history, partitions=40)


def test_a_partition_that_falls_silent_is_noticed_while_others_have_a_backlog() -> None:
    async def history(kafka: ModelKafka) -> None:
        for partition in range(3):
            for _ in range(60_000):
                kafka.append(TOPIC, partition, b"k", b"{}")
        silent = TopicPartition(TOPIC, 3)
        async with running(
            kafka, poll=PollOptions(10_000, skips_corrupt=False, stall_seconds=5)
        ) as reader:
            received = len((await reader.until(Received)).records)
            kafka.faults.lose_leader(silent)
            while silent not in reader.source.partition_errors():
                event = await reader.next()
                received += len(event.records) if isinstance(event, Received) else 0
                # Handling takes longer than fetching: each round receives something.
                await asyncio.sleep(0.1)
        assert received < 170_000

    play(history, partitions=4)


def test_a_topic_that_has_just_been_made_is_read_while_another_has_a_backlog() -> None:
    async def history(kafka: ModelKafka) -> None:
        for partition in range(3):
            for _ in range(30_000):
                kafka.append(TOPIC, partition, b"k", b"{}")
        changes = {"topics": (TOPIC, "parked"), "optional_topics": frozenset({"parked"})}
        async with running(
            kafka, poll=PollOptions(10_000, skips_corrupt=False, stall_seconds=60), **changes
        ) as reader:
            received = 0
            while True:
                event = await reader.until(Received)
                if event.assignment.topic == "parked":
                    break
                if not received:
                    kafka.add_topic("parked", 1)
                    kafka.append("parked", 0, b"k", b"{}")
                received += len(event.records)
                await asyncio.sleep(0.1)
        assert received < 70_000

    play(history, partitions=3)


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
            kafka.coordinator.force_rebalance(TOPIC)
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

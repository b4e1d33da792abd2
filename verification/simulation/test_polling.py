"""How partitions take turns when some can't be read, are silent, or are many, on virtual time."""

from __future__ import annotations

import asyncio

from aiokafka.structs import TopicPartition

from verification.simulation.kafka_model import UNIX_SECONDS, ModelKafka
from verification.simulation.reading import TOPIC, commit, play, running
from worker.core.model.event import OffsetsSkipped, Received
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
            kafka.lose_leader(silent)
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

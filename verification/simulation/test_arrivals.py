"""Faults between the arrival of partitions and their first records, on virtual time."""

from __future__ import annotations

import asyncio

from verification.simulation.kafka_model import ModelKafka
from verification.simulation.reading import TOPIC, commit, play, running
from worker.core.model.event import Assigned, TailRead


def test_partitions_that_went_and_came_back_while_they_were_looked_up_are_looked_up_again() -> None:
    async def history(kafka: ModelKafka) -> None:
        for _ in range(10):
            kafka.append(TOPIC, 0, b"k", b"{}")
        commit(kafka, 0, 3)
        async with running(kafka) as reader:
            # The tail isn't read on here, as long as nobody asks for the next event.
            tail = await reader.until(TailRead)
            assert tail.start.position == 3
            kafka.force_rebalance(TOPIC)
            # Whoever had the partition meanwhile has got on with it.
            commit(kafka, 0, 7)
            await asyncio.sleep(5)
            assigned = await reader.until(Assigned)
            assert [start.position for start in assigned.starts] == [7]

    play(history, partitions=1)


def test_tails_of_many_partitions_are_read_without_waiting_for_records_to_come() -> None:
    async def history(kafka: ModelKafka) -> None:
        for partition in range(40):
            for _ in range(5):
                kafka.append(TOPIC, partition, b"k", b"{}")
            commit(kafka, partition, 5)
        async with running(kafka) as reader:
            tails = [await reader.until(TailRead) for _ in range(40)]
            assert {tail.start.assignment.partition for tail in tails} == set(range(40))
            begun = asyncio.get_running_loop().time()
            await reader.until(Assigned)
            assert begun < 3

    play(history, partitions=40)


def test_partitions_are_looked_up_although_the_connections_have_died_silently() -> None:
    async def history(kafka: ModelKafka) -> None:
        kafka.append(TOPIC, 0, b"k", b"{}")
        async with running(kafka) as reader:
            await reader.until(Assigned)
            # Nothing is fetched from now on, so that nothing shows that this connection is dead.
            kafka.silence_connections()
            kafka.force_rebalance(TOPIC)
            await reader.until(Assigned)

    play(history, partitions=1)

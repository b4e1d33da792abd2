"""What may happen between the moment when partitions arrive and the one when they are received of,
on virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.kafka.edges.reading import Reader
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.virtual_loop import run
from worker.core.model.event import Assigned, TailRead
from worker.core.wire import commit_metadata

TOPIC = "events"


def play(history: Callable[[ModelKafka], Coroutine[Any, Any, None]], partitions: int) -> None:
    async def staged() -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, partitions)
        await history(kafka)

    run(staged(), seconds_max=600)


def commit(
    kafka: ModelKafka, partition: int, offset: int, settled: Sequence[tuple[int, int]] = ()
) -> None:
    """The group commits this position, with hints beside it that vouch for all before it, and for
    these ranges above.
    """
    committed = kafka._broker.group(TOPIC).committed
    committed[TopicPartition(TOPIC, partition)] = OffsetAndMetadata(
        offset, commit_metadata.encode(offset, 0, settled)
    )


@asynccontextmanager
async def running(kafka: ModelKafka, **changes: Any):  # type: ignore[no-untyped-def]
    reader = Reader(kafka.bootstrap_servers, TOPIC, **changes)
    tasks = [
        asyncio.create_task(work())
        for work in (reader.source.run, reader.source.watch_topics, reader.source.watch_ends)
    ]
    try:
        yield reader
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await reader.source.close()


def test_partitions_that_went_and_came_back_while_they_were_looked_up_are_looked_up_again() -> None:
    async def history(kafka: ModelKafka) -> None:
        for _ in range(10):
            kafka.append(TOPIC, 0, b"k", b"{}")
        commit(kafka, 0, 3)
        async with running(kafka) as reader:
            # The tail stands still here, as long as nobody asks for the next event.
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

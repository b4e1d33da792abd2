"""A source on model brokers and virtual time, whose events a test takes one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka.structs import TopicPartition

from tests.source_reader import SourceReader, reading
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.virtual_loop import run
from worker.core.model.event import Event
from worker.core.wire import commit_metadata
from worker.edges.kafka.client import KafkaConnection

E = TypeVar("E", bound=Event)
TOPIC = "events"


def play(history: Callable[[ModelKafka], Coroutine[Any, Any, None]], partitions: int) -> None:
    """Play a history on brokers with one topic of this many partitions."""

    async def staged() -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, partitions)
        await history(kafka)

    run(staged(), seconds_max=3600)


def commit(
    kafka: ModelKafka, partition: int, offset: int, settled: Sequence[tuple[int, int]] = ()
) -> None:
    """Commit this position for the group, with these settled ranges above it in the metadata."""
    metadata = commit_metadata.encode(offset, 0, settled)
    kafka.coordinator.set_committed(TOPIC, TopicPartition(TOPIC, partition), offset, metadata)


@asynccontextmanager
async def running(brokers: ModelKafka | KafkaConnection, **changes: Any) -> AsyncIterator[Any]:
    """A `SourceReader` that runs on these brokers; untyped, because tests look into its parts."""
    known = brokers.bootstrap_servers if isinstance(brokers, ModelKafka) else brokers
    async with reading(SourceReader(known, TOPIC, **changes)) as reader:
        yield reader


def append(kafka: ModelKafka, count: int, partitions: int = 1) -> None:
    """Append this many records to each of the first partitions."""
    for partition in range(partitions):
        for _ in range(count):
            kafka.append(TOPIC, partition, b"k", b"{}")


@asynccontextmanager
async def reading_on(
    kafka: ModelKafka, count: int, partitions: int = 1, **changes: Any
) -> AsyncIterator[Any]:
    """A `SourceReader` that has received this many records of each of the first partitions."""
    append(kafka, count, partitions)
    async with running(kafka, **changes) as reader:
        await reader.records(count * partitions)
        yield reader


def seen(reader: SourceReader, kind: type[E]) -> list[E]:
    """The events of this kind so far."""
    return [event for event in reader.seen if isinstance(event, kind)]


def remains() -> list[str]:
    """The tasks that still run, at either end of a connection."""
    return [
        str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()
    ]

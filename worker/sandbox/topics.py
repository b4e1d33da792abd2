"""Creates, fills and reads topics for the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.structs import ConsumerRecord

from worker.edges.kafka.aiokafka_internals.connection import close_cancelled_bootstraps
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.diagnosis import explain
from worker.errors import UnavailableError

READ_SECONDS_MAX = 60.0
REQUEST_SECONDS_MAX = 10.0
LEADER_SECONDS_MAX = 30.0


@asynccontextmanager
async def started(
    client: AIOKafkaProducer | AIOKafkaConsumer | AIOKafkaAdminClient,
) -> AsyncIterator[None]:
    """Start a client, and stop it at the end.

    aiokafka's own `async with` leaves a client open whose start fails or is cancelled.
    """
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    close_cancelled_bootstraps()
    try:
        await client.start()  # type: ignore[no-untyped-call]
        yield
    finally:
        await stop()  # type: ignore[no-untyped-call]


async def create_topics(bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
    """Create topics and wait until every partition has a leader.

    Args:
        bootstrap_servers: the brokers.
        partitions: the number of partitions, by topic.

    Raises:
        UnavailableError: the brokers can't be reached or refuse.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        brokers = len((await admin.describe_cluster())["brokers"])
        copies = min(brokers, 3)
        answer = await admin.create_topics(
            [NewTopic(name, count, copies) for name, count in partitions.items()]
        )
    except KafkaError as error:
        connection = KafkaConnection(
            tuple(bootstrap_servers.split(",")), "sandbox", REQUEST_SECONDS_MAX, KafkaSecurity()
        )
        raise UnavailableError(f"can't create topics: {await explain(connection, error)}") from None
    finally:
        await admin.close()
    # Each version of the protocol has a response class of its own.
    for name, code, message in cast(Any, answer).topic_errors:
        if code:
            reason = message or for_code(code).__name__
            raise UnavailableError(
                f"{bootstrap_servers} refuses to create the topic {name}: {reason}"
            )
    for name, count in partitions.items():
        await _await_leaders(
            bootstrap_servers, [TopicPartition(name, number) for number in range(count)]
        )


class Published(NamedTuple):
    """A record to publish."""

    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


async def publish(
    bootstrap_servers: str, topic: str, records: Iterable[tuple[bytes, bytes] | Published]
) -> int:
    """Publish records, lz4-compressed; returns their number after all acknowledgements."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        compression_type="lz4",
        linger_ms=10,
        max_batch_size=128 * 1024,
    )
    async with started(producer):
        acknowledgements = [
            await producer.send(topic, value=one.value, key=one.key, headers=one.headers)
            for one in (Published(*record) for record in records)
        ]
        await asyncio.gather(*acknowledgements)
    return len(acknowledgements)


async def read_all(bootstrap_servers: str, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Every record of the topic, in the order of offsets within each partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with started(consumer):
        async with asyncio.timeout(READ_SECONDS_MAX):
            partitions = await _partitions(bootstrap_servers, topic)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord[bytes, bytes]] = []
            for partition in partitions:
                while await consumer.position(partition) < ends[partition]:
                    chunks = await consumer.getmany(partition, timeout_ms=1000)
                    records.extend(chunks.get(partition, []))
            return records


async def committed_lag(bootstrap_servers: str, group_id: str, topic: str) -> int:
    """The number of offsets between the group's committed positions and the end of the topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=group_id, enable_auto_commit=False
    )
    async with started(consumer):
        partitions = await _partitions(bootstrap_servers, topic)
        ends = await consumer.end_offsets(partitions)
        return sum(
            [
                ends[partition] - (await consumer.committed(partition) or 0)
                for partition in partitions
            ]
        )


async def _partitions(bootstrap_servers: str, topic: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    async with started(admin):
        (described,) = await admin.describe_topics([topic])
        return [TopicPartition(topic, one["partition"]) for one in described["partitions"]]


async def _await_leaders(bootstrap_servers: str, partitions: list[TopicPartition]) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    try:
        async with started(consumer), asyncio.timeout(LEADER_SECONDS_MAX):
            while True:
                try:
                    await consumer.end_offsets(partitions)
                except (
                    UnknownTopicOrPartitionError,
                    LeaderNotAvailableError,
                    NotLeaderForPartitionError,
                ):
                    await asyncio.sleep(0.05)
                else:
                    return
    except TimeoutError:
        raise UnavailableError(
            f"topic {partitions[0].topic} has no leaders after {LEADER_SECONDS_MAX:g} s"
        ) from None

"""The model and real Kafka behind one interface, for tests that run on both."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from verification.simulation.kafka_model import ModelKafka
from worker.sandbox.topics import create_topics, started

# The broker allows no shorter session.
SESSION_MILLISECONDS = 6000
HEARTBEAT_MILLISECONDS = 200


class Cluster(Protocol):
    """A cluster of either kind."""

    bootstrap_servers: str

    async def add_topic(self, name: str, partitions: int) -> None:
        """Create a topic."""

    async def append(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        """Write records."""

    async def append_marked(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        """Write records, and behind them a marker that takes an offset."""

    async def truncate(self, topic: str, partition: int, before_offset: int) -> None:
        """Remove the first records."""


class Model:
    """The model, created inside its history."""

    def __init__(self) -> None:
        self.kafka = ModelKafka()
        self.bootstrap_servers = self.kafka.bootstrap_servers

    async def add_topic(self, name: str, partitions: int) -> None:
        self.kafka.add_topic(name, partitions)

    async def append(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        for value in values:
            self.kafka.append(topic, partition, None, value)

    async def append_marked(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        await self.append(topic, partition, values)
        self.kafka.append_control(topic, partition)

    async def truncate(self, topic: str, partition: int, before_offset: int) -> None:
        self.kafka.truncate(topic, partition, before_offset)


class RealKafka:
    """A real broker."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    async def add_topic(self, name: str, partitions: int) -> None:
        await create_topics(self.bootstrap_servers, {name: partitions})

    async def append(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers) as producer:
            await asyncio.gather(
                *[await producer.send(topic, value, partition=partition) for value in values]
            )

    async def append_marked(self, topic: str, partition: int, values: Sequence[bytes]) -> None:
        identity = f"transaction-{topic}"
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers, transactional_id=identity
        )
        async with producer, producer.transaction():
            written = await asyncio.gather(
                *[await producer.send(topic, value, partition=partition) for value in values]
            )
        await self._await_end(TopicPartition(topic, partition), written[-1].offset + 2)

    async def _await_end(self, partition: TopicPartition, end: int) -> None:
        """The marker is written some time after the transaction has ended for its producer."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, isolation_level="read_committed"
        ) as consumer:
            while (await consumer.end_offsets([partition]))[partition] < end:  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0.02)

    async def truncate(self, topic: str, partition: int, before_offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        async with started(admin):
            await admin.delete_records(
                {TopicPartition(topic, partition): RecordsToDelete(before_offset)}
            )


class Rebalances(ConsumerRebalanceListener):
    """Notes revocations and assignments in order; a gate can hold up a revocation."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, frozenset[int]]] = []
        self.may_revoke = asyncio.Event()
        self.may_revoke.set()
        self._news = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._hear("revoked", revoked)
        await self.may_revoke.wait()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._hear("assigned", assigned)

    async def until(self, count: int) -> None:
        """Wait until this many revocations and assignments are noted."""
        while len(self.calls) < count:
            self._news.clear()
            await self._news.wait()

    def _hear(self, what: str, partitions: Collection[TopicPartition]) -> None:
        self.calls.append((what, frozenset(partition.partition for partition in partitions)))
        self._news.set()


class Clients:
    """Creates clients of a cluster, and stops all of them at the end of a history."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._consumers: list[AIOKafkaConsumer] = []
        self._admin: AIOKafkaAdminClient | None = None

    async def member(
        self, group_id: str, topic: str, listener: Rebalances | None = None, **options: Any
    ) -> AIOKafkaConsumer:
        """A member of the group, joined."""
        timeouts = {
            "session_timeout_ms": SESSION_MILLISECONDS,
            "heartbeat_interval_ms": HEARTBEAT_MILLISECONDS,
        }
        consumer = self._consumer(
            **{"group_id": group_id, "client_id": group_id, **timeouts, **options}
        )
        consumer.subscribe(topics=[topic], listener=listener)
        await consumer.start()
        return consumer

    async def reader(self, *partitions: TopicPartition, **options: Any) -> AIOKafkaConsumer:
        """A consumer of these partitions, in no group unless one is given."""
        consumer = self._consumer(**{"group_id": None, **options})
        await consumer.start()
        consumer.assign(list(partitions))
        return consumer

    async def admin(self) -> AIOKafkaAdminClient:
        """The admin client."""
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._cluster.bootstrap_servers)
            await self._admin.start()
        return self._admin

    async def stop(self) -> None:
        """Stop all clients."""
        for consumer in self._consumers:
            await consumer.stop()
        if self._admin is not None:
            await self._admin.close()

    def _consumer(self, **options: Any) -> AIOKafkaConsumer:
        settings = {
            "bootstrap_servers": self._cluster.bootstrap_servers,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
        }
        consumer = AIOKafkaConsumer(**{**settings, **options})
        self._consumers.append(consumer)
        return consumer

"""The stage of a history that runs on the model and on real Kafka, and small reads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    KafkaError,
    for_code,
)
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import ConsumerRecord, TopicPartition

from verification.simulation.clusters import (
    Clients,
    Cluster,
    Rebalances,
)

SECONDS_MAX = 60.0
ALL = frozenset({0, 1, 2, 3})


class Stage:
    """A topic of four partitions, a new group, and clients."""

    def __init__(self, cluster: Cluster, topic: str, group: str) -> None:
        self.cluster = cluster
        self.clients = Clients(cluster)
        self.topic = topic
        self.group = group

    def partition(self, number: int) -> TopicPartition:
        return TopicPartition(self.topic, number)

    async def member(self, listener: Rebalances | None = None, **options: Any) -> AIOKafkaConsumer:
        return await self.clients.member(self.group, self.topic, listener, **options)

    async def append(self, partition: int, *values: bytes) -> None:
        await self.cluster.append(self.topic, partition, values)

    async def ask(self, request: Request[Any]) -> Any:
        """Send a request to the group's coordinator over a connection of its own."""
        client = AIOKafkaClient(bootstrap_servers=self.cluster.bootstrap_servers)
        await client.bootstrap()
        try:
            coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self.group)
            return await client.send(coordinator, request)
        finally:
            await client.close()

    async def remove(self, member: AIOKafkaConsumer) -> None:
        """Remove a member from its group without its knowledge, as the end of its session does."""
        answer = await self.ask(LeaveGroupRequest(self.group, member_id(member)))
        assert answer.error_code == 0

    async def commit_as(self, member_id: str, generation: int) -> type[KafkaError]:
        """Commit in the name of a member; returns the broker's answer."""
        answer = await self.ask(
            OffsetCommitRequest(self.group, generation, member_id, -1, [(self.topic, [(0, 5, "")])])
        )
        ((_topic, ((_partition, code),)),) = answer.topics
        return cast(type[KafkaError], for_code(code))


def member_id(member: AIOKafkaConsumer) -> str:
    return cast(str, cast(Any, member)._coordinator.member_id)


def generation(member: AIOKafkaConsumer) -> int:
    return cast(int, cast(Any, member)._coordinator.generation)


History = Callable[[Stage], Coroutine[Any, Any, None]]


class Play(Protocol):
    """Plays a history."""

    def __call__(self, history: History) -> None: ...


async def take(
    consumer: AIOKafkaConsumer, partition: TopicPartition, count: int
) -> list[ConsumerRecord[Any, Any]]:
    """Poll until this many records are received."""
    records: list[ConsumerRecord[Any, Any]] = []
    while len(records) < count:
        records += (await consumer.getmany(partition, timeout_ms=1000)).get(partition, [])
    return records


def numbers(consumer: AIOKafkaConsumer) -> frozenset[int]:
    return frozenset(partition.partition for partition in consumer.assignment())

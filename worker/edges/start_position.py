"""Where a partition is read from when it becomes ours.

From the committed offset, where there is one. Without one, `initial_offset` counts only at the very first start, when the
group has committed nothing for the topic at all: a partition that is added to a topic later is always read from its earliest
record, or what was written before we noticed it would be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CoordinatorNotAvailableError, UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka_client import KafkaConnection
from worker.model.record import Position, TopicPartition

# What the broker says of a partition for which the group has committed nothing.
NOTHING_COMMITTED = -1


@dataclass(frozen=True, slots=True)
class Found:
    """Where to start, what the group has committed (None: nothing), and where the partition ends (None: not known)."""

    position: int
    committed: Position | None
    end: int | None


class StartPositions:
    """Asks the group's coordinator and the brokers."""

    def __init__(
        self, consumer: AIOKafkaConsumer, connection: KafkaConnection, group_id: str, *, starts_at_latest: bool
    ) -> None:
        self._consumer = consumer
        self._connection = connection
        self._group_id = group_id
        self._starts_at_latest = starts_at_latest

    async def find(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Found]:
        """Where each of these partitions starts.

        Raises:
            aiokafka.errors.KafkaError: the coordinator or a broker couldn't be asked, or gave no full answer.
        """
        committed = await self._committed(partitions)
        ends = await self._consumer.end_offsets([ClientPartition(*partition) for partition in partitions])
        initial: dict[TopicPartition, int] = {}
        for topic in {partition.topic for partition in partitions}:
            without = [one for one in partitions if one.topic == topic and committed[one] is None]
            if without:
                initial |= await self._initial(topic, without)
        return {
            partition: Found(
                initial[partition] if position is None else position.offset, position, ends.get(_client(partition))
            )
            for partition, position in committed.items()
        }

    async def _committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position | None]:
        admin = self._connection.admin()
        try:
            await admin.start()
            return await committed_positions(admin, self._group_id, partitions)
        finally:
            await admin.close()

    async def _initial(self, topic: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        asked = [_client(partition) for partition in partitions]
        if self._starts_at_latest and await self._is_first_start(topic):
            offsets = await self._consumer.end_offsets(asked)
        else:
            offsets = await self._consumer.beginning_offsets(asked)
        return {TopicPartition(partition.topic, partition.partition): offset for partition, offset in offsets.items()}

    async def _is_first_start(self, topic: str) -> bool:
        numbers = self._consumer.partitions_for_topic(topic)
        if numbers is None:
            raise UnknownTopicOrPartitionError(f"the partitions of {topic} are not known yet")
        committed = await self._committed([TopicPartition(topic, number) for number in numbers])
        return all(position is None for position in committed.values())


async def committed_positions(
    admin: AIOKafkaAdminClient, group_id: str, partitions: Collection[TopicPartition]
) -> Mapping[TopicPartition, Position | None]:
    """What the group has committed for these partitions; None: nothing.

    Not by a consumer's own `committed`: where the coordinator answers that it is still loading, with no word on any partition,
    that says "nothing committed", and everything would be read again, or passed over.

    Raises:
        aiokafka.errors.KafkaError: the coordinator couldn't be asked, or gave no full answer.
    """
    answer = await admin.list_consumer_group_offsets(group_id, partitions=[_client(one) for one in partitions])
    if any(_client(partition) not in answer for partition in partitions):
        raise CoordinatorNotAvailableError("the coordinator did not say what is committed")
    found = {partition: answer[_client(partition)] for partition in partitions}
    return {
        partition: Position(position.offset, position.metadata) if position.offset != NOTHING_COMMITTED else None
        for partition, position in found.items()
    }


def _client(partition: TopicPartition) -> ClientPartition:
    return ClientPartition(partition.topic, partition.partition)

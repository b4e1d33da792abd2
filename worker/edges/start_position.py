"""Where a partition is read from when it becomes ours.

From the committed offset, where there is one. Without one, `initial_offset` counts only at the very first start, when the
group has committed nothing for the topic at all: a partition that is added to a topic later is always read from its earliest
record, or what was written before we noticed it would be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition as ClientPartition

from worker.model.record import TopicPartition


class StartPositions:
    """Asks the group and the brokers."""

    def __init__(self, consumer: AIOKafkaConsumer, *, starts_at_latest: bool) -> None:
        self._consumer = consumer
        self._starts_at_latest = starts_at_latest

    async def find(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int | None]]:
        """The position and the committed offset of each partition, the latter None where there is none.

        Raises:
            aiokafka.errors.KafkaError: the group or a broker couldn't be asked.
        """
        committed = await self._committed(partitions)
        found: dict[TopicPartition, tuple[int, int | None]] = {}
        for topic in {partition.topic for partition in partitions}:
            mine = [partition for partition in partitions if partition.topic == topic]
            without = [partition for partition in mine if committed[partition] is None]
            initial = await self._initial(topic, without) if without else {}
            for partition in mine:
                offset = committed[partition]
                found[partition] = (initial[partition] if offset is None else offset, offset)
        return found

    async def _committed(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        offsets = await asyncio.gather(*(self._consumer.committed(ClientPartition(*partition)) for partition in partitions))
        return dict(zip(partitions, offsets, strict=True))

    async def _initial(self, topic: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        asked = [ClientPartition(*partition) for partition in partitions]
        if self._starts_at_latest and await self._is_first_start(topic):
            offsets = await self._consumer.end_offsets(asked)
        else:
            offsets = await self._consumer.beginning_offsets(asked)
        return {TopicPartition(partition.topic, partition.partition): offset for partition, offset in offsets.items()}

    async def _is_first_start(self, topic: str) -> bool:
        numbers = self._consumer.partitions_for_topic(topic) or set()
        committed = await self._committed([TopicPartition(topic, number) for number in numbers])
        return all(offset is None for offset in committed.values())

"""Where a partition is read from when it becomes ours.

From the committed offset, where there is one. Without one, `initial_offset` counts only at the very first start, when the
group has committed nothing for the topic at all: a partition that is added to a topic later is always read from its earliest
record, or what was written before we noticed it would be lost.

Asked over connections of its own, each time new ones: the member's may be dead without its knowing, and aiokafka, which ends a
look-up at the very moment when the request under it would time out, would ask over the same dead one for ever.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.edges.kafka_client import KafkaConnection
from worker.edges.topic_reader import TopicReader
from worker.model.record import Position, TopicPartition


@dataclass(frozen=True, slots=True)
class Found:
    """Where to start, what the group has committed (None: nothing), and where the partition ends (None: not known)."""

    position: int
    committed: Position | None
    end: int | None


class StartPositions:
    """Asks the group's coordinator and the brokers.

    Args:
        connection: the brokers.
        group_id: whose positions.
        starts_at_latest: the group's very first start is at the end of each partition.
    """

    def __init__(self, connection: KafkaConnection, group_id: str, *, starts_at_latest: bool) -> None:
        self._connection = connection
        self._group_id = group_id
        self._starts_at_latest = starts_at_latest

    async def find(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Found]:
        """Where each of these partitions starts.

        Raises:
            aiokafka.errors.KafkaError: the coordinator or a broker couldn't be asked, or gave no full answer.
        """
        async with TopicReader(self._connection) as reader:
            committed = await reader.committed(self._group_id, partitions)
            spans = await reader.spans_of(list(partitions))
            unknown = {partition.topic for partition, position in committed.items() if position is None}
            at_latest = {topic for topic in unknown if self._starts_at_latest and await self._is_first_start(reader, topic)}
        found: dict[TopicPartition, Found] = {}
        for span in spans:
            position = committed[span.partition]
            initial = span.end if span.partition.topic in at_latest else span.begin
            found[span.partition] = Found(initial if position is None else position.offset, position, span.end)
        return found

    async def earliest(self, partition: TopicPartition) -> int:
        """The offset of the first record that the brokers have.

        Raises:
            aiokafka.errors.KafkaError: a broker couldn't be asked.
        """
        async with TopicReader(self._connection) as reader:
            (span,) = await reader.spans_of([partition])
        return span.begin

    async def _is_first_start(self, reader: TopicReader, topic: str) -> bool:
        known = await reader.partitions({topic})
        if topic not in known:
            raise UnknownTopicOrPartitionError(f"the partitions of {topic} are not known yet")
        committed = await reader.committed(self._group_id, known[topic])
        return all(position is None for position in committed.values())

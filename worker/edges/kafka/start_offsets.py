"""Where a partition is read from when it becomes ours.

From the committed offset, where there is one. Without one, `initial_offset` counts only at the very
first start, when the group has committed nothing for the topic at all: a partition that is added to
a topic later is always read from its earliest record, or what was written before we noticed it
would be lost.

Asked over connections of its own, each time new ones: the member's may be dead without its knowing,
and aiokafka, which ends a look-up at the very moment when the request under it would time out,
would ask over the same dead one for ever.

Each partition on its own: of one whose leader can't be asked nothing is known yet, and the others
start without it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.core.model.record import Position, TopicPartition
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.offset_lookup import Bounds, Unavailable, look_up
from worker.edges.kafka.reader import TopicReader


@dataclass(frozen=True, slots=True)
class Found:
    """Where to start, what the group has committed (None: nothing), and where the partition ends
    (None: not known).

    `leader_epoch` is that of the log in which the position was found; None where the brokers don't
    say.
    """

    position: int
    committed: Position | None
    end: int | None
    leader_epoch: int | None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Where partitions start, and those of which that can't be known at present, with
    the reason.
    """

    found: Mapping[TopicPartition, Found]
    unavailable: Mapping[TopicPartition, str]


class StartPositions:
    """Asks the group's coordinator and the brokers.

    Args:
        connection: the brokers.
        group_id: whose positions.
        starts_at_latest: the group's very first start is at the end of each partition.
    """

    def __init__(
        self, connection: KafkaConnection, group_id: str, *, starts_at_latest: bool
    ) -> None:
        self._connection = connection
        self._group_id = group_id
        self._starts_at_latest = starts_at_latest

    async def find(self, partitions: Collection[TopicPartition]) -> LookedUp:
        """Where each of these partitions starts.

        Raises:
            aiokafka.errors.KafkaError: the coordinator couldn't be asked, or gave no full answer,
                or no broker could.
        """
        async with TopicReader(self._connection) as reader:
            committed = await reader.committed(self._group_id, partitions)
            unknown = {
                partition.topic for partition, position in committed.items() if position is None
            }
            at_latest = {
                topic
                for topic in unknown
                if self._starts_at_latest and await self._is_first_start(reader, topic)
            }
        # After the positions: an end that is read later can't lie below them.
        bounds = await look_up(self._connection, partitions)
        found: dict[TopicPartition, Found] = {}
        unavailable: dict[TopicPartition, str] = {}
        for partition, one in bounds.items():
            if isinstance(one, Unavailable):
                unavailable[partition] = one.reason
                continue
            position = committed[partition]
            initial = one.end if partition.topic in at_latest else one.begin
            # Beyond the end: what was committed there is lost, and nothing says from where on (see
            # `leader_epochs`).
            start = initial if position is None else min(position.offset, one.end)
            found[partition] = Found(start, position, one.end, one.leader_epoch)
        return LookedUp(found, unavailable)

    async def bounds(
        self,
        partitions: Collection[TopicPartition],
        epochs: Mapping[TopicPartition, int] | None = None,
    ) -> Mapping[TopicPartition, Bounds | Unavailable]:
        """Where each of these partitions begins and ends, and where of some of them an epoch has
        ended.

        Raises:
            aiokafka.errors.KafkaError: no broker could be asked.
        """
        return await look_up(self._connection, partitions, epochs)

    async def _is_first_start(self, reader: TopicReader, topic: str) -> bool:
        known = await reader.partitions({topic})
        if topic not in known:
            raise UnknownTopicOrPartitionError(f"the partitions of {topic} are not known yet")
        committed = await reader.committed(self._group_id, known[topic])
        return all(position is None for position in committed.values())

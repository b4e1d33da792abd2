"""Asks the leader of each partition where its log begins and ends: one answer per partition.

aiokafka's `beginning_offsets` and its like answer for all partitions or for none, and wait for a partition that has no leader
until their time is over. Here a partition that can't be asked is named with the reason, and holds up no other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy
from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka_client import KafkaConnection
from worker.model.record import TopicPartition

# Up to the last stable offset, as everything here reads.
READ_COMMITTED = 1
NO_LEADER = -1


@dataclass(frozen=True, slots=True)
class Bounds:
    """The first offset of a partition, and the one behind its last record of a finished transaction."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Away:
    """A partition that can't be asked at present, and why."""

    reason: str


async def look_up(connection: KafkaConnection, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Bounds | Away]:
    """Where each of these partitions begins and ends, asked over new connections.

    Raises:
        aiokafka.errors.KafkaError: no broker could be asked.
    """
    client = connection.client()
    try:
        await client.bootstrap()
        if not await client.force_metadata_update():
            raise NodeNotReadyError("no broker says which partitions there are")
        by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        found: dict[TopicPartition, Bounds | Away] = {}
        for partition in sorted(partitions):
            leader = client.cluster.leader_for_partition(ClientPartition(*partition))
            if leader is None:
                found[partition] = Away("its topic does not exist, or may not be described")
            elif leader == NO_LEADER:
                found[partition] = Away("it has no leader")
            else:
                by_leader[leader].append(partition)
        for some in await asyncio.gather(*(_ask(client, leader, its) for leader, its in by_leader.items())):
            found |= some
        return found
    finally:
        await client.close()


async def _ask(
    client: AIOKafkaClient, leader: int, partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, Bounds | Away]:
    try:
        begins = await _offsets(client, leader, partitions, OffsetResetStrategy.EARLIEST)
        ends = await _offsets(client, leader, partitions, OffsetResetStrategy.LATEST)
    except KafkaError as error:
        return dict.fromkeys(partitions, Away(f"its leader, broker {leader}: {type(error).__name__}: {error}"))
    return {partition: _bounds(begins.get(partition), ends.get(partition)) for partition in partitions}


async def _offsets(
    client: AIOKafkaClient, leader: int, partitions: Sequence[TopicPartition], which: int
) -> dict[TopicPartition, int | Away]:
    topics: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for topic, number in partitions:
        topics[topic].append((number, which))
    # The response has one class per version of the protocol, and no common type.
    answer = cast(Any, await client.send(leader, OffsetRequest(-1, READ_COMMITTED, list(topics.items()))))
    return {
        TopicPartition(topic, number): Away(f"broker {leader}: {for_code(code).__name__}") if code else offset
        for topic, answers in answer.topics
        for number, code, _, offset in answers
    }


def _bounds(begin: int | Away | None, end: int | Away | None) -> Bounds | Away:
    if isinstance(begin, int) and isinstance(end, int):
        return Bounds(begin, end)
    faults = [one for one in (begin, end) if isinstance(one, Away)]
    return faults[0] if faults else Away("its leader gave no answer")

"""Asks the leader of each partition where its log begins and ends, and for its leader epochs.

aiokafka's `beginning_offsets` and similar calls answer for all partitions or for none, and wait for
a partition without a leader until their time-out. Here a partition that can't be asked is named
with the reason, and doesn't delay the others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.offset import OffsetResetStrategy
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import TopicPartition
from worker.edges.kafka.aiokafka_internals.requests import (
    READ_COMMITTED,
    EpochEndRequest,
    OffsetsRequest,
)
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection

NO_LEADER = -1


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The first offset of a partition, and the offset behind its last record.

    Records of open transactions don't count.

    Attributes:
        begin: the first offset.
        end: the offset behind the last record.
        leader_epoch: the latest epoch in the log; None where the broker doesn't say.
        epoch_end: the offset at which the epoch has ended that was asked for; None as above.
    """

    begin: int
    end: int
    leader_epoch: int | None = None
    epoch_end: int | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A partition that can't be asked at present, and why."""

    reason: str


UNANSWERED = Unavailable("its leader gave no answer")


async def look_up(
    connection: KafkaConnection,
    partitions: Collection[TopicPartition],
    epochs: Mapping[TopicPartition, int] | None = None,
) -> dict[TopicPartition, LogBounds | Unavailable]:
    """Return where each of these partitions begins and ends, asked over new connections.

    Args:
        connection: the brokers.
        partitions: all partitions in question.
        epochs: for some of them an epoch whose end is wanted.

    Raises:
        aiokafka.errors.KafkaError: no broker could be asked.
    """
    client = connection.client()
    try:
        await client.bootstrap()
        if not await client.force_metadata_update():
            raise NodeNotReadyError("no broker names the partitions")
        groups = by_leader(client, sorted(partitions))
        found: dict[TopicPartition, LogBounds | Unavailable] = {}
        for partition in groups.pop(None, ()):
            found[partition] = Unavailable("its topic does not exist, or may not be described")
        for partition in groups.pop(NO_LEADER, ()):
            found[partition] = Unavailable("it has no leader")
        for some in await asyncio.gather(
            *(
                _bounds(client, leader, its, epochs or {})
                for leader, its in groups.items()
                if leader is not None
            )
        ):
            found |= some
        return found
    finally:
        await client.close()


async def _bounds(
    client: AIOKafkaClient,
    leader: int,
    partitions: Collection[TopicPartition],
    epochs: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, LogBounds | Unavailable]:
    wanted = {partition: epochs[partition] for partition in partitions if partition in epochs}
    earliest, latest = OffsetResetStrategy.EARLIEST, OffsetResetStrategy.LATEST
    try:
        begins = await offsets(client, leader, OffsetsRequest(partitions, earliest, READ_COMMITTED))
        ends = await offsets(client, leader, OffsetsRequest(partitions, latest, READ_COMMITTED))
        epoch_ends = await _epoch_ends(client, leader, wanted) if wanted else {}
    # With NotImplementedError aiokafka reports a broker that accepts no version of a request that
    # the worker can write.
    except (KafkaError, NotImplementedError) as error:
        reason = f"its leader, broker {leader}: {text_of(error)}"
        return dict.fromkeys(partitions, Unavailable(reason))
    found: dict[TopicPartition, LogBounds | Unavailable] = {}
    for partition in partitions:
        match (
            begins.get(partition, UNANSWERED),
            ends.get(partition, UNANSWERED),
            epoch_ends.get(partition, -1),
        ):
            case ((begin, _), (end, leader_epoch), int(epoch_end)):
                # A broker that doesn't say answers -1.
                found[partition] = LogBounds(
                    begin,
                    end,
                    leader_epoch if leader_epoch >= 0 else None,
                    epoch_end if epoch_end >= 0 else None,
                )
            case answers:
                found[partition] = next(one for one in answers if isinstance(one, Unavailable))
    return found


async def offsets(
    client: AIOKafkaClient, leader: int, request: OffsetsRequest
) -> dict[TopicPartition, tuple[int, int] | Unavailable]:
    """Return the offset of each partition, and its leader epoch.

    Raises:
        KafkaError, NotImplementedError: the leader can't be asked.
    """
    # The response has one class per version of the protocol, and no common type.
    answer = cast(Any, await client.send(leader, request))
    return {
        TopicPartition(topic, number): _refused(leader, code) if code else (offset, epoch)
        for topic, answers in answer.topics
        for number, code, _, offset, epoch in answers
    }


async def _epoch_ends(
    client: AIOKafkaClient, leader: int, epochs: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | Unavailable]:
    answer = cast(Any, await client.send(leader, EpochEndRequest(epochs)))
    return {
        TopicPartition(topic, number): _refused(leader, code) if code else end
        for topic, answers in answer.topics
        for code, number, _, end in answers
    }


def _refused(leader: int, code: int) -> Unavailable:
    return Unavailable(f"broker {leader}: {for_code(code).__name__}")


def by_leader(
    client: AIOKafkaClient, partitions: Iterable[TopicPartition]
) -> dict[int | None, list[TopicPartition]]:
    """Return the partitions of each leader; None: the cluster doesn't know the partition."""
    groups: defaultdict[int | None, list[TopicPartition]] = defaultdict(list)
    for partition in partitions:
        groups[client.cluster.leader_for_partition(ClientPartition(*partition))].append(partition)
    return groups

"""Asks the leader of each partition where its log begins and ends, and its epochs: one answer per
partition.

aiokafka's `beginning_offsets` and its like answer for all partitions or for none, and wait for a
partition that has no leader until their time is over. Here a partition that can't be asked is named
with the reason, and holds up no other.

Source: the Kafka protocol's ListOffsets, from version 4 with the leader's epoch, and
OffsetForLeaderEpoch (KIP-320). aiokafka uses neither, so both are written down here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.offset import OffsetResetStrategy, OffsetResponse_v4
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Int64, Schema, String
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import TopicPartition
from worker.edges.kafka.client import KafkaConnection

# Up to the last stable offset, as everything here reads.
READ_COMMITTED = 1
NO_LEADER = NO_REPLICA = UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Bounds:
    """The first offset of a partition, and the one behind its last record of a finished
    transaction.

    `leader_epoch` is the latest epoch in its log, and `epoch_end` the offset at which the epoch
    that was asked for has ended; None where the broker doesn't say.
    """

    begin: int
    end: int
    leader_epoch: int | None = None
    epoch_end: int | None = None


class OffsetsResponse(Response):
    """ListOffsets."""

    API_KEY = 2
    API_VERSION = 4
    SCHEMA = OffsetResponse_v4.SCHEMA


class OffsetsRequestStruct(RequestStruct):
    """ListOffsets."""

    API_KEY = 2
    API_VERSION = 4
    RESPONSE_TYPE = OffsetsResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("isolation_level", Int8),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32), ("current_leader_epoch", Int32), ("timestamp", Int64)
                    ),
                ),
            ),
        ),
    )


class _OffsetsRequest(Request[OffsetsRequestStruct]):
    API_KEY = 2

    def __init__(self, partitions: Sequence[TopicPartition], which: int) -> None:
        self._topics = _by_topic((one, UNKNOWN, which) for one in partitions)

    def build(self, request_struct_class: type[OffsetsRequestStruct]) -> OffsetsRequestStruct:
        return request_struct_class(NO_REPLICA, READ_COMMITTED, self._topics)


class EpochEndResponse(Response):
    """OffsetForLeaderEpoch."""

    API_KEY = 23
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader_epoch", Int32),
                        ("end_offset", Int64),
                    ),
                ),
            ),
        ),
    )


class EpochEndRequestStruct(RequestStruct):
    """OffsetForLeaderEpoch."""

    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = EpochEndResponse
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("leader_epoch", Int32),
                    ),
                ),
            ),
        ),
    )


class _EpochEndRequest(Request[EpochEndRequestStruct]):
    API_KEY = 23

    def __init__(self, epochs: Mapping[TopicPartition, int]) -> None:
        self._topics = _by_topic((one, UNKNOWN, epoch) for one, epoch in epochs.items())

    def build(self, request_struct_class: type[EpochEndRequestStruct]) -> EpochEndRequestStruct:
        return request_struct_class(NO_REPLICA, self._topics)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A partition that can't be asked at present, and why."""

    reason: str


UNANSWERED = Unavailable("its leader gave no answer")


async def look_up(
    connection: KafkaConnection,
    partitions: Collection[TopicPartition],
    epochs: Mapping[TopicPartition, int] | None = None,
) -> dict[TopicPartition, Bounds | Unavailable]:
    """Where each of these partitions begins and ends, asked over new connections.

    Args:
        connection: the brokers.
        partitions: all that is asked for.
        epochs: of some of them an epoch whose end is wanted.

    Raises:
        aiokafka.errors.KafkaError: no broker could be asked.
    """
    client = connection.client()
    try:
        await client.bootstrap()
        if not await client.force_metadata_update():
            raise NodeNotReadyError("no broker names the partitions")
        by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        found: dict[TopicPartition, Bounds | Unavailable] = {}
        for partition in sorted(partitions):
            leader = client.cluster.leader_for_partition(ClientPartition(*partition))
            if leader is None:
                found[partition] = Unavailable("its topic does not exist, or may not be described")
            elif leader == NO_LEADER:
                found[partition] = Unavailable("it has no leader")
            else:
                by_leader[leader].append(partition)
        for some in await asyncio.gather(
            *(_ask(client, leader, its, epochs or {}) for leader, its in by_leader.items())
        ):
            found |= some
        return found
    finally:
        await client.close()


async def _ask(
    client: AIOKafkaClient,
    leader: int,
    partitions: Sequence[TopicPartition],
    epochs: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, Bounds | Unavailable]:
    wanted = {partition: epochs[partition] for partition in partitions if partition in epochs}
    try:
        begins = await _offsets(client, leader, partitions, OffsetResetStrategy.EARLIEST)
        ends = await _offsets(client, leader, partitions, OffsetResetStrategy.LATEST)
        epoch_ends = await _epoch_ends(client, leader, wanted) if wanted else {}
    # NotImplementedError is how aiokafka says that the broker takes none of the versions of a
    # request that are written here.
    except (KafkaError, NotImplementedError) as error:
        return dict.fromkeys(
            partitions, Unavailable(f"its leader, broker {leader}: {type(error).__name__}: {error}")
        )
    found: dict[TopicPartition, Bounds | Unavailable] = {}
    for one in partitions:
        begin, end, epoch_end = (
            begins.get(one, UNANSWERED),
            ends.get(one, UNANSWERED),
            epoch_ends.get(one),
        )
        unavailable = next(
            (answer for answer in (begin, end, epoch_end) if isinstance(answer, Unavailable)), None
        )
        if (
            unavailable is not None
            or isinstance(begin, Unavailable)
            or isinstance(end, Unavailable)
            or isinstance(epoch_end, Unavailable)
        ):
            found[one] = unavailable or UNANSWERED
        else:
            # What isn't said is -1.
            epoch = end[1] if end[1] >= 0 else None
            found[one] = Bounds(
                begin[0],
                end[0],
                epoch,
                epoch_end if epoch_end is not None and epoch_end >= 0 else None,
            )
    return found


async def _offsets(
    client: AIOKafkaClient, leader: int, partitions: Sequence[TopicPartition], which: int
) -> dict[TopicPartition, tuple[int, int] | Unavailable]:
    """The offset and its leader epoch."""
    # The response has one class per version of the protocol, and no common type.
    answer = cast(Any, await client.send(leader, _OffsetsRequest(partitions, which)))
    return {
        TopicPartition(topic, number): _refused(leader, code) if code else (offset, epoch)
        for topic, answers in answer.topics
        for number, code, _, offset, epoch in answers
    }


async def _epoch_ends(
    client: AIOKafkaClient, leader: int, epochs: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | Unavailable]:
    answer = cast(Any, await client.send(leader, _EpochEndRequest(epochs)))
    return {
        TopicPartition(topic, number): _refused(leader, code) if code else end
        for topic, answers in answer.topics
        for code, number, _, end in answers
    }


def _refused(leader: int, code: int) -> Unavailable:
    return Unavailable(f"broker {leader}: {for_code(code).__name__}")


def _by_topic(
    partitions: Iterable[tuple[TopicPartition, int, int]],
) -> list[tuple[str, list[tuple[int, int, int]]]]:
    topics: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for (topic, number), epoch, value in partitions:
        topics[topic].append((number, epoch, value))
    return list(topics.items())

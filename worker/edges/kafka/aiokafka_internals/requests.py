"""Requests of Kafka's protocol that aiokafka lacks, or knows only in an older version.

Sources: the Kafka protocol guide; KIP-430 (authorized operations in Metadata from version 8 and in
DescribeGroups from version 3); KIP-320 (leader epochs in ListOffsets from version 4, and
OffsetForLeaderEpoch). aiokafka writes Metadata up to version 5 and ListOffsets up to version 3, and
reads an answer of DescribeGroups version 3 by an older form.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.offset import OffsetResponse_v4
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Int64, Schema, String

from worker.core.model.record import TopicPartition

READ_UNCOMMITTED, READ_COMMITTED = 0, 1
NO_REPLICA = UNKNOWN_EPOCH = -1


class MetadataResponse(Response):
    """Metadata."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class MetadataRequestStruct(RequestStruct):
    """Metadata."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class MetadataRequest(Request[MetadataRequestStruct]):
    """Asks for these topics, with what we may do with them. Creates none of them."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[MetadataRequestStruct]) -> MetadataRequestStruct:
        return request_struct_class(self._topics, False, False, True)


class DescribeGroupRequestStruct(RequestStruct):
    """DescribeGroups."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class DescribeGroupRequest(Request[DescribeGroupRequestStruct]):
    """Asks for one group, with what we may do with it."""

    API_KEY = 15

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    def build(
        self, request_struct_class: type[DescribeGroupRequestStruct]
    ) -> DescribeGroupRequestStruct:
        return request_struct_class([self._group_id], True)


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


class OffsetsRequest(Request[OffsetsRequestStruct]):
    """Asks for the first or the last offset of partitions.

    Args:
        partitions: all with the same leader.
        which: `OffsetResetStrategy.EARLIEST` or `LATEST`.
        isolation: `READ_COMMITTED` ends before open transactions.
    """

    API_KEY = 2

    def __init__(self, partitions: Iterable[TopicPartition], which: int, isolation: int) -> None:
        self._topics = _by_topic((one, UNKNOWN_EPOCH, which) for one in partitions)
        self._isolation = isolation

    def build(self, request_struct_class: type[OffsetsRequestStruct]) -> OffsetsRequestStruct:
        return request_struct_class(NO_REPLICA, self._isolation, self._topics)


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


class EpochEndRequest(Request[EpochEndRequestStruct]):
    """Asks where leader epochs have ended, one epoch of each partition."""

    API_KEY = 23

    def __init__(self, epochs: Mapping[TopicPartition, int]) -> None:
        self._topics = _by_topic((one, UNKNOWN_EPOCH, epoch) for one, epoch in epochs.items())

    def build(self, request_struct_class: type[EpochEndRequestStruct]) -> EpochEndRequestStruct:
        return request_struct_class(NO_REPLICA, self._topics)


def _by_topic(
    partitions: Iterable[tuple[TopicPartition, int, int]],
) -> list[tuple[str, list[tuple[int, int, int]]]]:
    topics: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for (topic, number), epoch, value in partitions:
        topics[topic].append((number, epoch, value))
    return list(topics.items())

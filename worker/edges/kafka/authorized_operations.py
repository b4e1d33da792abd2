"""What we may do with topics and with a group, as the brokers say: asked for, and not tried out.

Source: KIP-430 (authorized operations): a bit per operation in the answers of Metadata (from
version 8) and DescribeGroups (from version 3, see `worker.edges.kafka.group_description`). aiokafka
writes Metadata up to version 5, so its request is written down here. A broker without an authorizer
says that everything is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NodeNotReadyError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.group_description import GroupDescription, describe

# What a broker says that can't tell.
UNKNOWN = -(2**31)


class Operation(IntEnum):
    """What may be done. Source: org.apache.kafka.common.acl.AclOperation."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8


@dataclass(frozen=True, slots=True)
class TopicAccess:
    """A topic as we may see it.

    `error` None: it is there. `allowed` None: the broker doesn't tell.
    """

    topic: str
    error: str | None
    partitions: int
    allowed: frozenset[Operation] | None


class _MetadataResponse(Response):
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


class _MetadataRequestStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class(self._topics, False, False, True)


class Permissions:
    """An async context manager. Opening and every method raise `aiokafka.errors.KafkaError`."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._client: AIOKafkaClient

    async def __aenter__(self) -> Permissions:
        self._client = self._connection.client()
        try:
            await self._client.bootstrap()
            if self._client.get_random_node() is None:
                raise NodeNotReadyError("the cluster names no brokers yet")
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def topics(self, names: Sequence[str]) -> dict[str, TopicAccess]:
        """What there is to say of each of these topics. None of them is made by asking."""
        answer = cast(
            Any, await self._client.send(self._client.get_random_node(), _MetadataRequest(names))
        )
        return {
            topic: TopicAccess(topic, _error(code), len(partitions), _operations(bits))
            for code, topic, _, partitions, bits in answer.topics
        }

    async def group(self, group_id: str) -> tuple[GroupDescription, frozenset[Operation] | None]:
        """This group, which need not exist, and what we may do with it; None where the broker
        doesn't tell.
        """
        description = await describe(self._client, group_id)
        return description, _operations(description.operations)


def _error(code: int) -> str | None:
    return None if code == 0 else for_code(code).__name__


def _operations(bits: int) -> frozenset[Operation] | None:
    return None if bits == UNKNOWN else frozenset(one for one in Operation if bits & (1 << one))

"""What the brokers say of topics: which exist, and what we may do with them.

aiokafka refuses to start over a single missing topic, so `Topics` looks first. `Permissions` asks
for the allowed operations instead of trying them. Source: KIP-430. A broker without an authorizer
answers that everything is allowed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code

from worker.edges.kafka.aiokafka_internals.requests import MetadataRequest
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.coordinator import GroupDescription, describe
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# How often missing topics are looked for.
LOOK_SECONDS = 30.0
# The error of a topic that we may not describe, whether it exists or not.
HIDDEN = "TopicAuthorizationFailedError"
_ABSENT_OR_HIDDEN = (
    "it does not exist, or the worker's user may not describe it: create it, or grant DESCRIBE"
)
# The bits of a broker that can't say what is allowed.
UNKNOWN_OPERATIONS = -(2**31)


class Topics:
    """The topics of all routes, and which of them exist.

    Args:
        connection: the brokers.
        wanted: all of them.
        optional: those that may be missing without an error: they are created when they are first
            needed.
        look_seconds: how often missing topics are looked for.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        wanted: tuple[str, ...],
        optional: frozenset[str],
        look_seconds: float,
    ) -> None:
        self._connection = connection
        self._wanted = wanted
        self._optional = optional
        self._look_seconds = look_seconds
        self._hidden: frozenset[str] = frozenset()
        # The missing optional topics that have had their log line.
        self._reported: set[str] = set()
        self.present: list[str] = []

    async def look(self) -> None:
        """Find out which topics exist.

        Raises:
            aiokafka.errors.KafkaError: the brokers can't be asked.
        """
        admin = self._connection.admin()
        try:
            await admin.start()
            known = set(await admin.list_topics())
        finally:
            await admin.close()
        self.present = [topic for topic in self._wanted if topic in known]
        missing = [topic for topic in self._wanted if topic not in known]
        self._hidden = await self._hidden_of(missing)
        for topic in missing:
            detail = _ABSENT_OR_HIDDEN if topic in self._hidden else "it does not exist"
            self._report(topic, detail)
        self._reported.intersection_update(missing)

    def _report(self, topic: str, detail: str) -> None:
        fields = {"topic": topic, "detail": detail, "retry_seconds": self._look_seconds}
        if topic not in self._optional:
            logger.error("topic_missing", extra=fields)
        elif topic not in self._reported:
            # Once: it may be missing for ever, and must not displace other lines in `last_errors`.
            self._reported.add(topic)
            logger.warning("topic_missing", extra=fields)

    def none_present(self) -> str:
        """Return why there is nothing to read."""
        hidden = self._hidden - self._optional
        if not hidden:
            return "none of the topics exists"
        names = ", ".join(topic for topic in self._wanted if topic in hidden)
        return f"none of the topics is there; of {names}: {_ABSENT_OR_HIDDEN}"

    async def _hidden_of(self, topics: list[str]) -> frozenset[str]:
        """Return the topics that may be hidden: brokers don't say whether those exist."""
        optional = self._optional.intersection(topics)
        required = [topic for topic in topics if topic not in optional]
        # An optional topic is usually missing: it isn't worth a further connection.
        if not required:
            return optional
        try:
            async with Permissions(self._connection) as permissions:
                found = await permissions.topics(required)
        except NotImplementedError:
            # A broker before version 2.3 can't be asked.
            return optional
        return optional | {topic for topic in required if found[topic].error == HIDDEN}

    async def find_missing(self) -> None:
        """Find out which topics exist by now, where any is missing.

        Brokers that can't be asked are asked another time.
        """
        if len(self.present) == len(self._wanted):
            return
        try:
            await self.look()
        except (KafkaError, OSError) as error:
            detail = text_of(error)
            logger.warning("topics_not_looked_for", extra={"detail": detail})
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            detail = "aiokafka cancelled the request"
            logger.warning("topics_not_looked_for", extra={"detail": detail})


class Operation(IntEnum):
    """An operation that an access rule allows.

    Source: org.apache.kafka.common.acl.AclOperation.
    """

    READ = 3
    WRITE = 4
    DESCRIBE = 8


@dataclass(frozen=True, slots=True)
class TopicAccess:
    """A topic as we may see it.

    `error` None: the topic exists. `allowed` None: the broker doesn't say.
    """

    topic: str
    error: str | None
    partitions: int
    allowed: frozenset[Operation] | None


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
        """Return the access to each of these topics. None of them is created by asking."""
        answer = cast(
            Any, await self._client.send(self._client.get_random_node(), MetadataRequest(names))
        )
        return {
            topic: TopicAccess(topic, _error(code), len(partitions), operations_of(bits))
            for code, topic, _, partitions, bits in answer.topics
        }

    async def group(self, group_id: str) -> tuple[GroupDescription, frozenset[Operation] | None]:
        """This group, which need not exist, and what we may do with it.

        The operations are None where the broker doesn't say.
        """
        description = await describe(self._client, group_id)
        return description, operations_of(description.operations)


def operations_of(bits: int) -> frozenset[Operation] | None:
    """Return the operations that a broker allows, None where it doesn't say."""
    if bits == UNKNOWN_OPERATIONS:
        return None
    return frozenset(operation for operation in Operation if bits & (1 << operation))


def _error(code: int) -> str | None:
    return None if code == 0 else for_code(code).__name__

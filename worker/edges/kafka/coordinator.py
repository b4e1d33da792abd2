"""Asks the coordinator of a consumer group: which positions are committed, and who is a member.

Members of one group must share an assignor. With a member that has another one, or a protocol of
another kind (a connector, a stream application), the coordinator refuses the worker's JoinGroup for
as long as that member stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    for_code,
)
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import Position, TopicPartition
from worker.edges.kafka.aiokafka_internals.requests import DescribeGroupRequest
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection

ATTEMPTS_MAX = 40
WAIT_SECONDS = 0.25

# The coordinator's answer for a partition for which the group has committed nothing.
NOTHING_COMMITTED = -1
# A new cluster creates its internal topics when it is first asked.
NOT_YET = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)
# The protocol type of consumers; empty for a group without members.
CONSUMERS = ("consumer", "")
# The most members that a message names.
NAMED_MAX = 5

T = TypeVar("T")


async def ask_coordinator(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, and ask again while there is no coordinator, for 10 s.

    Raises:
        aiokafka.errors.KafkaError: the error of the last attempt, or of another kind.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await ask()
        except NOT_YET:
            await asyncio.sleep(WAIT_SECONDS)
    return await ask()


async def committed_positions(
    admin: AIOKafkaAdminClient, group_id: str, partitions: Collection[TopicPartition]
) -> Mapping[TopicPartition, Position | None]:
    """Return the positions that the group has committed for these partitions; None: nothing.

    A consumer's own `committed` can't be used: where the coordinator answers that it is still
    loading, without a word on any partition, it returns "nothing committed", and everything would
    be read again, or skipped.

    Raises:
        aiokafka.errors.KafkaError: the coordinator couldn't be asked, or gave no full answer.
    """
    answer = await admin.list_consumer_group_offsets(
        group_id, partitions=[ClientPartition(*one) for one in partitions]
    )
    if any(ClientPartition(*partition) not in answer for partition in partitions):
        raise CoordinatorNotAvailableError("the coordinator did not return the committed positions")
    found = {partition: answer[ClientPartition(*partition)] for partition in partitions}
    return {
        partition: Position(position.offset, position.metadata)
        if position.offset != NOTHING_COMMITTED
        else None
        for partition, position in found.items()
    }


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member as the coordinator knows it. The client id is chosen by its program."""

    client_id: str
    host: str


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group, which need not exist.

    `assignor` is empty during a rebalance; `operations` are bits, see `topics.operations_of`.
    """

    state: str
    protocol_type: str
    assignor: str
    members: tuple[GroupMember, ...]
    operations: int

    def is_of_another_program(self, assignor: str) -> bool:
        """Return whether the members share a protocol other than this assignor.

        The coordinator refuses a client that has only this assignor.
        """
        has_another = self.assignor not in ("", assignor)
        return bool(self.members) and (self.protocol_type not in CONSUMERS or has_another)

    def members_text(self) -> str:
        """Return the members, for people."""
        named = [
            f"{member.client_id} at {member.host.lstrip('/')}"
            for member in self.members[:NAMED_MAX]
        ]
        more = len(self.members) - len(named)
        # During a rebalance the coordinator names no assignor.
        shared = f"assignor {self.assignor}" if self.assignor else self.state
        return (
            f"{', '.join(named)}{f' and {more} more' if more else ''} (protocol "
            f"{self.protocol_type}, {shared})"
        )


async def describe(client: AIOKafkaClient, group_id: str) -> GroupDescription:
    """Describe this group, which need not exist.

    Raises:
        aiokafka.errors.KafkaError: the coordinator couldn't be asked, or refused.
    """
    return await ask_coordinator(lambda: _describe(client, group_id))


async def _describe(client: AIOKafkaClient, group_id: str) -> GroupDescription:
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
    answer = cast(Any, await client.send(coordinator, DescribeGroupRequest(group_id)))
    ((code, _, state, protocol_type, assignor, members, operations),) = answer.groups
    if code:
        raise cast(KafkaError, for_code(code)(f"group {group_id}"))
    found = tuple(GroupMember(client_id, host) for _, client_id, host, *_ in members)
    return GroupDescription(state, protocol_type, assignor, found, operations)


async def describe_members(connection: KafkaConnection, group_id: str) -> str:
    """Return the members of this group, for people; or why they can't be named.

    Called when the coordinator refuses the worker because of them.
    """
    client: AIOKafkaClient | None = None
    try:
        client = connection.client()
        await client.bootstrap()
        description = await describe(client, group_id)
    # With NotImplementedError aiokafka reports a broker that accepts no version of a request that
    # aiokafka can write.
    except (KafkaError, OSError, NotImplementedError) as error:
        return f"members that can't be described ({text_of(error)})"
    finally:
        if client is not None:
            await client.close()
    return (
        description.members_text()
        if description.members
        else "members that have left in the meantime"
    )

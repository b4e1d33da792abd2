"""Who is in a consumer group, as its coordinator says, and what of it is another program's.

Members of one group must share an assignor. With one that has another, or none at all in common (a
connector, a stream application), the coordinator refuses the worker's JoinGroup, for as long as
that member stays.

Source: the Kafka protocol's DescribeGroups, from version 3 with the authorized operations of
KIP-430. aiokafka reads an answer of that version by an older form, so the request is written down
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct

from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.coordinator import ask_coordinator

# The protocol type of consumers; empty where nobody is in the group.
CONSUMERS = ("consumer", "")
# A message names so many members.
NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member as the coordinator knows it. The client id is chosen by its program."""

    client_id: str
    host: str


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group, which need not exist.

    `assignor` is empty during a rebalance; `operations` are bits, see `permissions`.
    """

    state: str
    protocol_type: str
    assignor: str
    members: tuple[GroupMember, ...]
    operations: int

    def is_of_another_program(self, assignor: str) -> bool:
        """True if the members share a protocol that isn't this assignor: who has only this one
        isn't let in.
        """
        has_another = self.assignor not in ("", assignor)
        return bool(self.members) and (self.protocol_type not in CONSUMERS or has_another)

    def members_text(self) -> str:
        """The members, for people."""
        named = [f"{one.client_id} at {one.host.lstrip('/')}" for one in self.members[:NAMED_MAX]]
        more = len(self.members) - len(named)
        # During a rebalance the coordinator names no assignor.
        shared = f"assignor {self.assignor}" if self.assignor else self.state
        return (
            f"{', '.join(named)}{f' and {more} more' if more else ''} (protocol "
            f"{self.protocol_type}, {shared})"
        )


class _RequestStruct(RequestStruct):
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _Request(Request[_RequestStruct]):
    API_KEY = 15

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    def build(self, request_struct_class: type[_RequestStruct]) -> _RequestStruct:
        return request_struct_class([self._group_id], True)


async def describe(client: AIOKafkaClient, group_id: str) -> GroupDescription:
    """Describe this group, which need not exist.

    Raises:
        aiokafka.errors.KafkaError: the coordinator couldn't be asked, or refused.
    """
    return await ask_coordinator(lambda: _describe(client, group_id))


async def _describe(client: AIOKafkaClient, group_id: str) -> GroupDescription:
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
    answer = cast(Any, await client.send(coordinator, _Request(group_id)))
    ((code, _, state, protocol_type, assignor, members, operations),) = answer.groups
    if code:
        raise cast(KafkaError, for_code(code)(f"group {group_id}"))
    found = tuple(GroupMember(client_id, host) for _, client_id, host, *_ in members)
    return GroupDescription(state, protocol_type, assignor, found, operations)


async def describe_members(connection: KafkaConnection, group_id: str) -> str:
    """The members of this group, for people; or why they can't be named. Asked when the coordinator
    refuses us for them.
    """
    client: AIOKafkaClient | None = None
    try:
        client = connection.client()
        await client.bootstrap()
        description = await describe(client, group_id)
    # NotImplementedError is how aiokafka says that the broker takes none of the versions of a
    # request that it can write.
    except (KafkaError, OSError, NotImplementedError) as error:
        return f"members that can't be described ({type(error).__name__}: {error})"
    finally:
        if client is not None:
            await client.close()
    return (
        description.members_text()
        if description.members
        else "members that have left in the meantime"
    )

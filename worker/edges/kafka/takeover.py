"""Makes a dead predecessor leave the group, so that its partitions needn't wait for the end of its
session.

A member that crashed is waited for until its session times out, and all that time its partitions
stand still. But a member is taken out at once when LeaveGroup is sent for its member id, and Kafka
lets anyone send it who may read the group. Whose member is dead is told by the client id, which no
living process shares with us: see `worker.edges.kafka.instance_id`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, cast

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from worker.edges.kafka.client import KafkaConnection

logger = logging.getLogger("worker.kafka")

# Of the time allowed: what is kept back to close the connections, which a silent broker can draw
# out.
CLOSING_SHARE = 0.2
# Of the time allowed: the most that one connection or one request gets, so that a single dead
# broker doesn't use it all up.
REQUEST_SHARE = 0.4


async def take_over(
    connection: KafkaConnection, group_id: str, client_id: str, timeout_seconds: float
) -> int:
    """Make the members of the group that carry this client id leave; returns how many did.

    Called at start, with an inherited identity, and finished before this process joins the group:
    it would throw itself out. Does not promise that the predecessor is out. Whatever fails is
    logged, and then the worker joins the slow way. Nor does it find a member that died between the
    two steps of its very first join: the broker doesn't list it, and waits for it.

    Args:
        connection: the brokers.
        group_id: the consumer group; it need not exist.
        client_id: ours and our predecessor's, no one else's. Members with another one are not
            touched.
        timeout_seconds: for everything, closing the connections included.

    Source: KIP-62 (sessions); the Kafka protocol's DescribeGroups and LeaveGroup.
    """
    patience = connection.capped(timeout_seconds * REQUEST_SHARE)
    client: AIOKafkaClient | None = None
    try:
        async with asyncio.timeout(timeout_seconds * (1 - CLOSING_SHARE)):
            client = AIOKafkaClient(**patience.arguments())
            await client.bootstrap()
            count = await _make_leave(client, group_id, client_id)
    # NotImplementedError is how aiokafka says that the broker takes none of the versions of a
    # request that it can write.
    except (KafkaError, OSError, NotImplementedError) as error:
        logger.warning(
            "take_over_failed",
            extra={"group_id": group_id, "detail": f"{type(error).__name__}: {error}"},
        )
        return 0
    finally:
        if client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds * CLOSING_SHARE):
                    await client.close()
    if count:
        logger.info("predecessor_taken_over", extra={"group_id": group_id, "members": count})
    return count


async def _make_leave(client: AIOKafkaClient, group_id: str, client_id: str) -> int:
    """Returns how many left.

    Raises:
        aiokafka.errors.KafkaError: a broker couldn't be asked, or refused.
        NotImplementedError: the broker takes no version of a request that aiokafka can write.
    """
    if client.get_random_node() is None:
        raise NodeNotReadyError("the cluster names no brokers yet")
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
    count = 0
    for member_id in await _members(client, coordinator, group_id, client_id):
        # The response has one class per version of the protocol, and no common type.
        answer = cast(Any, await client.send(coordinator, LeaveGroupRequest(group_id, member_id)))
        if answer.error_code:
            error = for_code(answer.error_code).__name__
            logger.warning(
                "take_over_failed",
                extra={"group_id": group_id, "member_id": member_id, "detail": error},
            )
        else:
            count += 1
    return count


async def _members(
    client: AIOKafkaClient, coordinator: int, group_id: str, client_id: str
) -> list[str]:
    """The member ids in the group that carry this client id; none if there is no such group.

    Raises:
        aiokafka.errors.KafkaError: the coordinator couldn't be asked, or refused.
    """
    answer = cast(Any, await client.send(coordinator, DescribeGroupsRequest([group_id])))
    # One group was asked for. aiokafka reads a version 3 answer by version 2's form, which holds
    # for the first group only.
    ((error_code, _group_id, _state, _protocol_type, _protocol, members, *_),) = answer.groups
    if error_code:
        raise for_code(error_code)(f"can't describe the group {group_id}")
    return [member_id for member_id, owner, *_ in members if owner == client_id]

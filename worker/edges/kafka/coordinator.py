"""Asks a group's coordinator, and waits a little where there is none yet: a new cluster makes its
topics when first asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    NotCoordinatorError,
)
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import Position, TopicPartition

ATTEMPTS_MAX = 40
WAIT_SECONDS = 0.25

# What it says of a partition for which the group has committed nothing.
NOTHING_COMMITTED = -1
NOT_YET = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)

T = TypeVar("T")


async def ask_coordinator(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while there is no coordinator, for 10 s.

    Raises:
        aiokafka.errors.KafkaError: what came of the last attempt, or of one that failed otherwise.
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
    """What the group has committed for these partitions; None: nothing.

    Not by a consumer's own `committed`: where the coordinator answers that it is still loading,
    with no word on any partition, that says "nothing committed", and everything would be read
    again, or passed over.

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

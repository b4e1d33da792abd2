"""Committing positions, within a time-out and never for a partition that isn't ours any more."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.rebalance import Rebalances
from worker.lasting import is_cancelled_from_within
from worker.model.event import CommitFailed, Committed
from worker.model.record import Assignment, Position


async def commit(
    consumer: AIOKafkaConsumer | None, rebalances: Rebalances, positions: dict[Assignment, Position], timeout_seconds: float
) -> Committed | CommitFailed:
    """Commit all at once, and if that isn't answered or is refused, partition by partition: one must not hold up the others.

    Args:
        consumer: the member; None where there is none at present.
        rebalances: what may be committed for: asked again before each attempt.
        positions: what to commit.
        timeout_seconds: for all attempts together.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    mine = {assignment: at for assignment, at in positions.items() if rebalances.may_commit(assignment)}
    detail = await _attempt(consumer, rebalances, mine, started + timeout_seconds / 2)
    if detail is not None:
        faults = [await _attempt(consumer, rebalances, {one: at}, started + timeout_seconds) for one, at in mine.items()]
        detail = next((fault for fault in faults if fault is not None), None if faults else detail)
    if detail is None and len(mine) < len(positions):
        detail = "partitions were taken away"
    if detail is None:
        return Committed(positions, clock() - started)
    return CommitFailed(positions, detail, clock() - started)


async def _attempt(
    consumer: AIOKafkaConsumer | None, rebalances: Rebalances, positions: dict[Assignment, Position], deadline_seconds: float
) -> str | None:
    """One commit; returns what went wrong, None if nothing did."""
    if consumer is None:
        return "not connected"
    # Since the last attempt a rebalance may have passed: the fence holds for each.
    offsets = {
        ClientPartition(assignment.topic, assignment.partition): OffsetAndMetadata(position.offset, position.metadata)
        for assignment, position in positions.items()
        if rebalances.may_commit(assignment)
    }
    if not offsets:
        return "none of the partitions is ours any more"
    try:
        # aiokafka has no deadline of its own here: it would try for ever against a dead coordinator.
        async with asyncio.timeout_at(deadline_seconds):
            await consumer.commit(offsets)
    except TimeoutError:
        return "no answer in time"
    except KafkaError as error:
        return f"{type(error).__name__}: {error}"
    except asyncio.CancelledError:
        if not is_cancelled_from_within():
            raise
        return "aiokafka cancelled it"
    return None

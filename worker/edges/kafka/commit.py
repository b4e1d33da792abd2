"""Commits positions, within a time-out and never for a partition that isn't ours any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka.errors import KafkaError, OffsetMetadataTooLargeError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.event import CommitFailed, Committed
from worker.core.model.record import Assignment, Position
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.supervision import is_cancelled_from_within

# A commit is one batch of the offsets topic, and a broker takes 1 MiB (message.max.bytes) with all
# that is around the metadata.
COMMIT_CHARACTERS_MAX = 262_144


@dataclass(frozen=True, slots=True)
class _CommitFault:
    """A failed attempt. `too_large`: the positions whose metadata the broker found too large."""

    detail: str
    too_large: tuple[Position, ...] = ()


_NOT_OURS = _CommitFault("none of the partitions is assigned to this worker any more")


async def commit(
    consumer: AIOKafkaConsumer | None,
    rebalances: Rebalances,
    positions: dict[Assignment, Position],
    timeout_seconds: float,
) -> Committed | CommitFailed:
    """Commit all at once, and if that fails, partition by partition: none must hold up the others.

    Args:
        consumer: the member; None where there is none at present.
        rebalances: for which partitions we may commit: asked again before each attempt.
        positions: the positions to commit.
        timeout_seconds: for all attempts together.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    mine = {
        assignment: at for assignment, at in positions.items() if rebalances.may_commit(assignment)
    }
    faults: list[_CommitFault] = []
    for piece in _pieces(mine):
        faults += await _commit_piece(consumer, rebalances, piece, started, timeout_seconds)
    if not mine:
        faults.append(_NOT_OURS)
    elif len(mine) < len(positions):
        faults.append(_CommitFault("partitions were revoked"))
    if not faults:
        return Committed(positions, clock() - started)
    too_large = tuple(at for fault in faults for at in fault.too_large)
    return CommitFailed(positions, faults[0].detail, clock() - started, too_large)


async def _commit_piece(
    consumer: AIOKafkaConsumer | None,
    rebalances: Rebalances,
    piece: dict[Assignment, Position],
    started_seconds: float,
    timeout_seconds: float,
) -> list[_CommitFault]:
    """Commit these positions; returns what went wrong with each partition."""
    together = await _attempt(consumer, rebalances, piece, started_seconds + timeout_seconds / 2)
    if together is None:
        return []
    faults: list[_CommitFault] = []
    for assignment, at in piece.items():
        deadline = started_seconds + timeout_seconds
        fault = await _attempt(consumer, rebalances, {assignment: at}, deadline)
        if fault is not None:
            faults.append(fault)
    if faults and together.too_large and not any(fault.too_large for fault in faults):
        # Another failure has come between, but the largest metadata certainly is too large.
        largest = max(piece.values(), key=lambda at: len(at.metadata))
        faults.append(_CommitFault(together.detail, (largest,)))
    return faults


def _pieces(positions: dict[Assignment, Position]) -> Iterator[dict[Assignment, Position]]:
    """Yield the same positions, in requests that a coordinator can write as one batch each."""
    piece: dict[Assignment, Position] = {}
    size = 0
    for assignment, at in positions.items():
        if piece and size + len(at.metadata) > COMMIT_CHARACTERS_MAX:
            yield piece
            piece, size = {}, 0
        piece[assignment] = at
        size += len(at.metadata)
    if piece:
        yield piece


async def _attempt(
    consumer: AIOKafkaConsumer | None,
    rebalances: Rebalances,
    positions: dict[Assignment, Position],
    deadline_seconds: float,
) -> _CommitFault | None:
    """Commit once; returns what went wrong, None for nothing."""
    if consumer is None:
        return _CommitFault("not connected")
    # A rebalance may have passed since the last attempt: the fence holds for each.
    offsets = {
        ClientPartition(assignment.topic, assignment.partition): OffsetAndMetadata(
            position.offset, position.metadata
        )
        for assignment, position in positions.items()
        if rebalances.may_commit(assignment)
    }
    if not offsets:
        return _NOT_OURS
    try:
        # aiokafka has no deadline of its own here: it would try for ever against a dead
        # coordinator.
        async with asyncio.timeout_at(deadline_seconds):
            await consumer.commit(offsets)
    except TimeoutError:
        return _CommitFault("no answer in time")
    except KafkaError as error:
        is_for_size = isinstance(error, OffsetMetadataTooLargeError)
        return _CommitFault(text_of(error), tuple(positions.values()) if is_for_size else ())
    except asyncio.CancelledError:
        if not is_cancelled_from_within():
            raise
        return _CommitFault("aiokafka cancelled the commit")
    return None

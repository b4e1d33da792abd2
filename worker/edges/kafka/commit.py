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
    """A failed attempt. `is_for_size`: the broker found the metadata too large."""

    detail: str
    is_for_size: bool = False


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
    faults = (
        [] if mine else [_CommitFault("none of the partitions is assigned to this worker any more")]
    )
    too_large: list[Position] = []
    for piece in _pieces(mine):
        together = await _attempt(consumer, rebalances, piece, started + timeout_seconds / 2)
        if together is None:
            continue
        refused: list[Position] = []
        for assignment, at in piece.items():
            fault = await _attempt(
                consumer, rebalances, {assignment: at}, started + timeout_seconds
            )
            if fault is not None:
                faults.append(fault)
                refused += [at] if fault.is_for_size else []
        if together.is_for_size and not refused:
            # Another failure has come between, but the largest metadata certainly is too large.
            refused = [max(piece.values(), key=lambda at: len(at.metadata))]
        too_large += refused
    if not faults and len(mine) < len(positions):
        faults.append(_CommitFault("partitions were revoked"))
    if not faults:
        return Committed(positions, clock() - started)
    return CommitFailed(positions, faults[0].detail, clock() - started, tuple(too_large))


def _pieces(positions: dict[Assignment, Position]) -> Iterator[dict[Assignment, Position]]:
    """The same positions, in requests that a coordinator can write as one batch each."""
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
        return _CommitFault("none of the partitions is assigned to this worker any more")
    try:
        # aiokafka has no deadline of its own here: it would try for ever against a dead
        # coordinator.
        async with asyncio.timeout_at(deadline_seconds):
            await consumer.commit(offsets)
    except TimeoutError:
        return _CommitFault("no answer in time")
    except KafkaError as error:
        return _CommitFault(text_of(error), isinstance(error, OffsetMetadataTooLargeError))
    except asyncio.CancelledError:
        if not is_cancelled_from_within():
            raise
        return _CommitFault("aiokafka cancelled the commit")
    return None

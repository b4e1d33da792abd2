"""Where a newly assigned partition is read from; looked up while others are polled.

A partition starts at its committed offset, where there is one. Without one, `initial_offset` counts
only at the very first start, when the group has committed nothing for the topic at all: a partition
that is added to a topic later is always read from its earliest record, or the records written
before we noticed it would be lost.

The look-up uses new connections each time, because the member's own connection may be dead without
notice: aiokafka ends a look-up at the moment when its request would time out, and would use the
same dead connection for ever. A partition whose leader can't be asked is looked up again later; the
others begin without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from worker.core.model.record import Position, TopicPartition
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.offset_lookup import Unavailable, look_up
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

RETRY_SECONDS_FIRST = 1.0
RETRY_SECONDS_MAX = 10.0
# The most partitions that a log line names.
NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class StartOffset:
    """Where a partition starts, and what is known of its log at that moment.

    Attributes:
        position: the first offset to read.
        committed: the position that the group has committed; None: nothing.
        end: the end of the partition; None: not known.
        leader_epoch: the latest epoch of the log; None where the brokers don't say.
    """

    position: int
    committed: Position | None
    end: int | None
    leader_epoch: int | None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The start of each partition, and the reason for each whose start can't be known now."""

    found: Mapping[TopicPartition, StartOffset]
    unavailable: Mapping[TopicPartition, str]


class StartOffsets:
    """Asks the group's coordinator and the leaders.

    Args:
        connection: the brokers.
        group_id: the group with the committed positions.
        starts_at_latest: the group's very first start is at the end of each partition.
    """

    def __init__(
        self, connection: KafkaConnection, group_id: str, *, starts_at_latest: bool
    ) -> None:
        self._connection = connection
        self._group_id = group_id
        self._starts_at_latest = starts_at_latest

    async def find(self, partitions: Collection[TopicPartition]) -> LookedUp:
        """Find where each of these partitions starts.

        Raises:
            aiokafka.errors.KafkaError: the coordinator couldn't be asked, or gave no full answer,
                or no broker could be asked.
        """
        async with TopicReader(self._connection) as reader:
            committed = await reader.committed(self._group_id, partitions)
            unknown = {
                partition.topic for partition, position in committed.items() if position is None
            }
            at_latest = {
                topic
                for topic in unknown
                if self._starts_at_latest and await self._is_first_start(reader, topic)
            }
        # After the positions: an end that is read later can't lie below them.
        bounds = await look_up(self._connection, partitions)
        found: dict[TopicPartition, StartOffset] = {}
        unavailable: dict[TopicPartition, str] = {}
        for partition, log in bounds.items():
            if isinstance(log, Unavailable):
                unavailable[partition] = log.reason
                continue
            position = committed[partition]
            initial = log.end if partition.topic in at_latest else log.begin
            # Records that were committed beyond the end are lost, and nothing says from where on
            # (see `leader_epochs`).
            start = initial if position is None else min(position.offset, log.end)
            found[partition] = StartOffset(start, position, log.end, log.leader_epoch)
        return LookedUp(found, unavailable)

    async def _is_first_start(self, reader: TopicReader, topic: str) -> bool:
        known = await reader.partitions({topic})
        if topic not in known:
            raise UnknownTopicOrPartitionError(f"the partitions of {topic} are not known yet")
        committed = await reader.committed(self._group_id, known[topic])
        return all(position is None for position in committed.values())


class Arrivals:
    """Looks up the partitions that the group has assigned to one consumer and that begin next.

    Args:
        rebalances: which partitions have arrived.
        starts: finds where they start.
        rebuild_windows: reads their tails, so that an event that is written again is known.
        wake: called when a look-up has ended.
    """

    def __init__(
        self,
        rebalances: Rebalances,
        starts: StartOffsets,
        rebuild_windows: Callable[[Mapping[TopicPartition, StartOffset]], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self._rebalances = rebalances
        self._starts = starts
        self._rebuild_windows = rebuild_windows
        self._wake = wake
        self._asked: frozenset[TopicPartition] = frozenset()
        self._look_up: asyncio.Task[Mapping[TopicPartition, StartOffset]] | None = None
        self._retry_at = 0.0
        self._retry_seconds = RETRY_SECONDS_FIRST
        self._unavailable: Mapping[TopicPartition, str] = {}

    @property
    def unavailable(self) -> Mapping[TopicPartition, str]:
        """The arrivals whose start can't be found, each with the reason."""
        return {
            partition: reason
            for partition, reason in self._unavailable.items()
            if partition in self._rebalances.arrivals
        }

    def advance(self) -> Mapping[TopicPartition, StartOffset]:
        """Return the arrivals that can begin now.

        Begins a look-up where one is due; called in every round, never waits.
        """
        arrivals = self._rebalances.arrivals
        found: Mapping[TopicPartition, StartOffset] = {}
        if self._look_up is not None and self._look_up.done():
            look_up_done, self._look_up = self._look_up, None
            # `is`: the same partitions may have gone and come back meanwhile, and another member
            # has read on in them.
            if self._asked is arrivals:
                found = look_up_done.result()
        if self._asked is not arrivals:
            self._retry_at, self._retry_seconds = 0.0, RETRY_SECONDS_FIRST
            # Once: this is called in every round, and a second cancellation would interrupt the
            # closing of its connections.
            if self._look_up is not None and not self._look_up.cancelling():
                self._look_up.cancel()
        if (
            arrivals
            and not found
            and self._look_up is None
            and asyncio.get_running_loop().time() >= self._retry_at
        ):
            self._asked = arrivals
            self._look_up = asyncio.create_task(self._find(arrivals), name="start positions")
            self._look_up.add_done_callback(lambda _: self._wake())
        return found

    async def close(self) -> None:
        """End the look-up under way."""
        if self._look_up is not None:
            self._look_up.cancel()
            await asyncio.wait([self._look_up])

    async def _find(
        self, partitions: frozenset[TopicPartition]
    ) -> Mapping[TopicPartition, StartOffset]:
        """Return the arrivals that can begin, once their windows are rebuilt."""
        try:
            looked_up = await self._starts.find(partitions)
        except (KafkaError, OSError) as error:
            return self._put_off(len(partitions), text_of(error))
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return self._put_off(len(partitions), "aiokafka cancelled the request")
        self._unavailable = looked_up.unavailable
        if looked_up.unavailable:
            named = sorted(looked_up.unavailable.items())[:NAMED_MAX]
            detail = "; ".join(f"{partition}: {reason}" for partition, reason in named)
            self._put_off(len(looked_up.unavailable), detail)
        await self._rebuild_windows(looked_up.found)
        return looked_up.found

    def _put_off(self, count: int, detail: str) -> Mapping[TopicPartition, StartOffset]:
        fields = {"partitions": count, "detail": detail, "retry_seconds": self._retry_seconds}
        logger.warning("start_positions_not_found", extra=fields)
        self._retry_at = asyncio.get_running_loop().time() + self._retry_seconds
        self._retry_seconds = min(self._retry_seconds * 2, RETRY_SECONDS_MAX)
        return {}

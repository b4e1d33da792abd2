"""Partitions that the group has assigned and that don't begin yet: looked up beside the polling of
those that have begun.

A partition whose leader can't be asked waits on its own and is asked for again; the others begin
without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from aiokafka.errors import KafkaError

from worker.core.model.record import TopicPartition
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.start_offsets import Found, StartPositions
from worker.edges.kafka.window_rebuild import WindowRebuild
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

RETRY_SECONDS_FIRST = 1.0
RETRY_SECONDS_MAX = 10.0
# A log line names so many partitions.
NAMED_MAX = 5


class Arrivals:
    """Looks up the arrivals of one consumer, for as long as that one lives.

    Args:
        rebalances: which partitions have arrived.
        starts: finds where they start.
        tails: reads their tails again.
        settled_here: up to where this process has settled a partition itself.
        wake: called when a look-up has ended.
    """

    def __init__(
        self,
        rebalances: Rebalances,
        starts: StartPositions,
        tails: WindowRebuild,
        settled_here: Mapping[TopicPartition, int],
        wake: Callable[[], None],
    ) -> None:
        self._rebalances = rebalances
        self._starts = starts
        self._tails = tails
        self._settled_here = settled_here
        self._wake = wake
        self._asked: frozenset[TopicPartition] = frozenset()
        self._look_up: asyncio.Task[Mapping[TopicPartition, Found]] | None = None
        self._retry_at = 0.0
        self._retry_seconds = RETRY_SECONDS_FIRST
        self._unavailable: Mapping[TopicPartition, str] = {}

    @property
    def unavailable(self) -> Mapping[TopicPartition, str]:
        """The arrivals whose start isn't known, because nobody can be asked for it, each with the
        reason.
        """
        return {
            partition: reason
            for partition, reason in self._unavailable.items()
            if partition in self._rebalances.arrivals
        }

    def advance(self) -> Mapping[TopicPartition, Found]:
        """The arrivals that can begin now.

        Begins a look-up where one is due; called in every round, never waits.
        """
        arrivals = self._rebalances.arrivals
        found: Mapping[TopicPartition, Found] = {}
        if self._look_up is not None and self._look_up.done():
            look_up, self._look_up = self._look_up, None
            # `is`: the same partitions may have gone and come back meanwhile, and somebody else has
            # got on with them.
            if self._asked is arrivals:
                found = look_up.result()
        if self._asked is not arrivals:
            self._retry_at, self._retry_seconds = 0.0, RETRY_SECONDS_FIRST
            if self._look_up is not None:
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

    async def _find(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, Found]:
        """Those that can begin, with their tails read: an event that comes again is known only by
        then.
        """
        try:
            looked_up = await self._starts.find(partitions)
        except (KafkaError, OSError) as error:
            return self._put_off(len(partitions), f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return self._put_off(len(partitions), "aiokafka cancelled the request")
        self._unavailable = looked_up.unavailable
        if looked_up.unavailable:
            named = sorted(looked_up.unavailable.items())[:NAMED_MAX]
            self._put_off(
                len(looked_up.unavailable), "; ".join(f"{one}: {reason}" for one, reason in named)
            )
        await self._tails.read(looked_up.found, self._settled_here)
        return looked_up.found

    def _put_off(self, count: int, detail: str) -> Mapping[TopicPartition, Found]:
        fields = {"partitions": count, "detail": detail, "retry_seconds": self._retry_seconds}
        logger.warning("start_positions_not_found", extra=fields)
        self._retry_at = asyncio.get_running_loop().time() + self._retry_seconds
        self._retry_seconds = min(self._retry_seconds * 2, RETRY_SECONDS_MAX)
        return {}

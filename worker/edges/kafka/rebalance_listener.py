"""The group's rebalances: they wait until the pipeline has released its partitions.

Keeps the list of the partitions that are ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from aiokafka import ConsumerRebalanceListener
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.event import Distributed, Event, Lost, Revoked
from worker.core.model.record import Assignment, TopicPartition

logger = logging.getLogger("worker.kafka")


class Rebalances(ConsumerRebalanceListener):
    """The listener that aiokafka calls around a rebalance.

    A partition *arrives* when the group assigns it, is *ours* from `begin` on, *draining* once the
    group wants it back, and gone when the pipeline has released it.

    Args:
        drain_seconds: how long the pipeline may take to drain partitions.
        release_seconds: how long a rebalance waits at most, last commit included. The group waits
            for no member longer.
        post: takes `Revoked`, `Distributed` and `Lost`.
        stop_fetching: called when partitions are taken back and when partitions have arrived.
            Records that the client fetches of them could only be thrown away, and nothing would
            bound them while a rebalance lasts.
    """

    def __init__(
        self,
        drain_seconds: float,
        release_seconds: float,
        post: Callable[[Event], None],
        stop_fetching: Callable[[], None],
    ) -> None:
        self._drain_seconds = drain_seconds
        self._release_seconds = release_seconds
        self._post = post
        self._stop_fetching = stop_fetching
        self._arrivals: frozenset[TopicPartition] = frozenset()
        self._ours: set[Assignment] = set()
        self._draining: set[Assignment] = set()
        self._released = asyncio.Event()

    @property
    def arrivals(self) -> frozenset[TopicPartition]:
        """The assigned partitions without an epoch yet: a new object after each change."""
        return self._arrivals

    @property
    def ours(self) -> frozenset[Assignment]:
        """The partitions for which we may commit: receiving or draining."""
        return frozenset(self._ours)

    def may_commit(self, assignment: Assignment) -> bool:
        """True until the pipeline has released it."""
        return assignment in self._ours

    def may_receive(self, assignment: Assignment) -> bool:
        """True until the group wants it back."""
        return assignment in self._ours and assignment not in self._draining

    def begin(self, assignments: Collection[Assignment]) -> None:
        """Count these partitions as ours, in their epochs; other arrivals go on waiting."""
        begun = {assignment.topic_partition for assignment in assignments}
        if not self._arrivals.isdisjoint(begun):
            self._arrivals -= begun
        self._ours.update(assignments)

    def end(self, assignments: Collection[Assignment]) -> None:
        """End these epochs."""
        self._ours.difference_update(assignments)
        self._draining.difference_update(assignments)

    def release(self, assignments: Collection[Assignment]) -> None:
        """Let the rebalance go on: the pipeline has drained and fenced these."""
        self.end(assignments)
        if not self._draining:
            self._released.set()

    async def on_partitions_revoked(self, revoked: Collection[ClientPartition]) -> None:
        """Drain partitions that the group takes back.

        Returns when the pipeline has released them, or the time for it is over.
        """
        self._stop_fetching()
        self._arrivals = frozenset()
        gone = {TopicPartition(partition.topic, partition.partition) for partition in revoked}
        assignments = tuple(
            assignment for assignment in self._ours if assignment.topic_partition in gone
        )
        if not assignments:
            return
        self._draining.update(assignments)
        self._released.clear()
        self._post(Revoked(assignments, asyncio.get_running_loop().time() + self._drain_seconds))
        try:
            async with asyncio.timeout(self._release_seconds):
                await self._released.wait()
        except TimeoutError:
            logger.error("revocation_not_released", extra={"partitions": len(assignments)})
            self.end(assignments)
            self._post(Lost(assignments))

    async def on_partitions_assigned(self, assigned: Collection[ClientPartition]) -> None:
        """Take note of assigned partitions.

        They are polled once they have an epoch and a position; nothing is awaited here.
        """
        self._arrivals = frozenset(
            TopicPartition(partition.topic, partition.partition) for partition in assigned
        )
        self._post(Distributed(self._arrivals))
        self._stop_fetching()

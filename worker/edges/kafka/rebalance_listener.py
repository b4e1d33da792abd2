"""Delays the group's rebalances until the pipeline has released its partitions.

It also keeps the list of the partitions that are ours.
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

    A partition *arrives* when the group assigns it, is *ours* from `begin` on, *draining* after the
    group has revoked it, and not ours any more when the pipeline has released it.

    Args:
        drain_seconds: how long the pipeline may take to drain partitions.
        release_seconds: how long a rebalance waits at most, last commit included. The group waits
            no longer for any member.
        post: takes `Revoked`, `Distributed` and `Lost`.
        stop_fetching: called when partitions are taken back and when partitions have arrived.
            Records that the client fetched of them would be discarded, and without a bound on their
            memory while a rebalance lasts.
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
        """The assigned partitions that have no epoch yet; a new object after each change."""
        return self._arrivals

    @property
    def ours(self) -> frozenset[Assignment]:
        """The partitions for which we may commit: receiving or draining."""
        return frozenset(self._ours)

    def may_commit(self, assignment: Assignment) -> bool:
        """Return whether the pipeline has not yet released this assignment."""
        return assignment in self._ours

    def may_receive(self, assignment: Assignment) -> bool:
        """Return whether this assignment is ours and not revoked."""
        return assignment in self._ours and assignment not in self._draining

    def begin(self, assignments: Collection[Assignment]) -> None:
        """Count these partitions as ours, in their epochs; other arrivals wait."""
        begun = {assignment.topic_partition for assignment in assignments}
        if not self._arrivals.isdisjoint(begun):
            self._arrivals -= begun
        self._ours.update(assignments)

    def end(self, assignments: Collection[Assignment]) -> None:
        """End these epochs."""
        self._ours.difference_update(assignments)
        self._draining.difference_update(assignments)

    def release(self, assignments: Collection[Assignment]) -> None:
        """Let the rebalance continue: the pipeline has drained and fenced these assignments."""
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
            # Others may have been released in time, or be lost already with their consumer.
            left = tuple(assignment for assignment in assignments if assignment in self._draining)
            if left:
                logger.error("revocation_not_released", extra={"partitions": len(left)})
                self.end(left)
                self._post(Lost(left))

    async def on_partitions_assigned(self, assigned: Collection[ClientPartition]) -> None:
        """Note the assigned partitions.

        They are polled once they have an epoch and a position; nothing is awaited here.
        """
        self._arrivals = frozenset(
            TopicPartition(partition.topic, partition.partition) for partition in assigned
        )
        self._post(Distributed(self._arrivals))
        self._stop_fetching()

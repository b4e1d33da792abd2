"""The group's rebalances: holds them up until the pipeline has let go, and keeps count of what is
ours.
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
    """What aiokafka calls around a rebalance.

    A partition *arrives* when the group assigns it, is *ours* from `begin` on, *draining* once the
    group wants it back, and gone when the pipeline has released it.

    Args:
        drain_seconds: how long the pipeline may take to bring partitions to an end.
        release_seconds: how long a rebalance waits at most, last commit included. The group waits
            for nobody longer.
        post: takes `Revoked`, `Distributed` and `Lost`.
        stop_fetching: called when partitions are taken back and when partitions have arrived. What
            the client fetches of them could only be thrown away, and nobody would hold it back
            while a rebalance lasts.
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
        """The partitions that were assigned and have no epoch yet: another object after each
        rebalance, and each `begin`.
        """
        return self._arrivals

    @property
    def ours(self) -> frozenset[Assignment]:
        """What may be committed for: ours, or draining."""
        return frozenset(self._ours)

    def may_commit(self, assignment: Assignment) -> bool:
        """True until the pipeline has let go of it."""
        return assignment in self._ours

    def may_receive(self, assignment: Assignment) -> bool:
        """True until the group wants it back."""
        return assignment in self._ours and assignment not in self._draining

    def begin(self, assignments: Collection[Assignment]) -> None:
        """These have their epochs; of the arrivals, those that are left go on waiting."""
        begun = {assignment.topic_partition for assignment in assignments}
        if not self._arrivals.isdisjoint(begun):
            self._arrivals -= begun
        self._ours.update(assignments)

    def end(self, assignments: Collection[Assignment]) -> None:
        """These epochs are over."""
        self._ours.difference_update(assignments)
        self._draining.difference_update(assignments)

    def release(self, assignments: Collection[Assignment]) -> None:
        """The pipeline has drained and fenced these."""
        self.end(assignments)
        if not self._draining:
            self._released.set()

    async def on_partitions_revoked(self, revoked: Collection[ClientPartition]) -> None:
        """The group takes partitions back.

        Returns when the pipeline has let go of them, or can't be waited for any longer.
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
        """The group gives partitions.

        They are received of once they have an epoch and a position; nothing is awaited here.
        """
        self._arrivals = frozenset(
            TopicPartition(partition.topic, partition.partition) for partition in assigned
        )
        self._post(Distributed(self._arrivals))
        self._stop_fetching()

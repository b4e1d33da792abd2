"""Polls in rounds: which of our partitions is received of now, and what the client fetches ahead.

A paused partition is simply not polled: aiokafka's own pause throws fetched records away, and its
flags vanish at rebalances. A partition that can't be read waits on its own, and the others go on.
aiokafka's fetch task may die in silence (aiokafka #983, #1037), and then `getmany` returns nothing
for ever: the age of the last fetch shows that, see `worker.edges.kafka.consumer_health`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import Assignment
from worker.edges.kafka.aiokafka_internals.consumer import Fetched
from worker.edges.kafka.consumer_health import PartitionHealth
from worker.edges.kafka.fetch_budget import FetchBudget
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.receiver import ChunkReceiver, client_partition

# How long a round lasts before all else is looked at: new partitions, lost offsets, a stop.
ROUND_SECONDS = 0.1
# How often everything without an event of its own is looked at, where nothing else happens.
WATCH_SECONDS = 1.0
# A call of `getmany` with this partition takes no records, and raises what the consumer has met.
NOWHERE = ClientPartition("", 0)


class Poller:
    """Polls a consumer until that consumer is closed.

    Args:
        consumer: a started member of the group.
        rebalances: which of its partitions are ours.
        receiver: receives a chunk of one partition.
        health: which partitions are put off.
        fetched_bytes_max: see `FetchBudget`.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        rebalances: Rebalances,
        receiver: ChunkReceiver,
        health: PartitionHealth,
        fetched_bytes_max: int,
    ) -> None:
        self._consumer = consumer
        self._rebalances = rebalances
        self._receiver = receiver
        self._health = health
        self._fetched = Fetched(consumer)
        self._budget = FetchBudget(consumer, self._fetched, fetched_bytes_max)
        self._at: dict[ClientPartition, Assignment] = {}
        # The partition whose fetch has been received in part: a batch of it is expanded.
        self._half_read: ClientPartition | None = None

    def begin(self, positions: dict[Assignment, int]) -> None:
        """Poll these partitions too, from these offsets on; forget those that are gone."""
        self._receiver.begin(positions)
        ours = self._receiver.positions.keys()
        self._at = {client_partition(assignment): assignment for assignment in ours}
        self._half_read = self._half_read if self._half_read in self._at else None
        self._budget.begin(self._at.keys())
        self._health.begin(ours)

    def wake(self) -> None:
        """Let `wait` return: a round has something to do."""
        self._fetched.news.set()

    async def wait(self) -> None:
        """Wait until something may be ready, or it is time to look at what has no event."""
        # A partition that is due again without fetched records sets `news` at its next fetch.
        watch_at, retry_at = _now() + WATCH_SECONDS, self._health.next_retry()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(
                watch_at if retry_at is None else min(watch_at, retry_at)
            ):
                await self._fetched.news.wait()

    async def check(self) -> None:
        """Raise the error of the group's coordinator, if any; wait for the end of a rebalance.

        Called before each round, also with nothing ready and without partitions: a member that
        polls nothing is never let back into the group once it has been out (aiokafka #1187).
        """
        await self._consumer.getmany(NOWHERE, timeout_ms=0)

    async def round(self, paused: Collection[Assignment], is_stopped: Callable[[], bool]) -> bool:
        """Receive what is ready of the partitions that aren't paused, the longest waiting first.

        One partition after the other is emptied, so that no more than one record batch is expanded
        at a time. Returns True if anything came.
        """
        self._fetched.news.clear()
        received = False
        deadline = _now() + ROUND_SECONDS
        for partition in sorted(self._fetched.ready(), key=lambda one: one != self._half_read):
            assignment = self._at.get(partition)
            # Handling the chunk before may have paused or revoked this partition.
            while (
                assignment is not None
                and self._is_due(assignment, paused)
                and not is_stopped()
                and _now() < deadline
            ):
                received |= await self._receiver.receive(assignment)
                self._half_read = partition if self._fetched.holds(partition) else None
            if _now() >= deadline:
                break
            if partition == self._half_read:
                self._throw_away_half_read()
        self._balance(paused)
        return received

    def rest(self) -> None:
        """Let the client fetch nothing more until the next round: nothing is received meanwhile."""
        self._budget.rest(self._ours())

    def watch(self, paused: Collection[Assignment]) -> None:
        """Note which partitions nothing is fetched of.

        In a rhythm of its own: a partition may be silent while others have plenty.
        """
        polled = {
            assignment: partition
            for partition, assignment in self._ours().items()
            if assignment not in paused and not self._budget.puts_off(partition)
        }
        marks = {
            assignment: self._consumer.last_poll_timestamp(partition)
            for assignment, partition in polled.items()
            if not self._fetched.holds(partition)
        }
        self._health.watch(polled.keys(), marks)

    def _ours(self) -> dict[ClientPartition, Assignment]:
        return {
            partition: assignment
            for partition, assignment in self._at.items()
            if self._rebalances.may_receive(assignment)
        }

    def _is_due(self, assignment: Assignment, paused: Collection[Assignment]) -> bool:
        return (
            assignment not in paused
            and self._rebalances.may_receive(assignment)
            and not self._health.is_put_off(assignment)
            and self._fetched.holds(client_partition(assignment))
        )

    def _throw_away_half_read(self) -> None:
        """Let no batch of a partition that rests stay expanded: it is fetched again."""
        if self._half_read is not None:
            assignment = self._at[self._half_read]
            if self._rebalances.may_receive(assignment):
                self._consumer.seek(self._half_read, self._receiver.positions[assignment])
            self._half_read = None

    def _balance(self, paused: Collection[Assignment]) -> None:
        """Keep what the client has fetched within its bound."""
        ours, positions = self._ours(), self._receiver.positions
        resting = {
            partition
            for partition, assignment in ours.items()
            if assignment in paused or self._health.is_put_off(assignment)
        }
        self._budget.balance(
            {partition: positions[assignment] for partition, assignment in ours.items()}, resting
        )


def _now() -> float:
    return asyncio.get_running_loop().time()

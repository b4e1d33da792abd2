"""Rebalances: what is ours, and how long the group waits, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka.structs import TopicPartition as ClientPartition

from tests.builders import TOPIC, make_assignment
from verification.simulation import virtual_loop
from worker.core.model.event import Distributed, Event, Lost, Revoked
from worker.core.model.record import TopicPartition
from worker.edges.kafka.rebalance_listener import Rebalances

FIRST, SECOND = make_assignment(0), make_assignment(1)
DRAIN_SECONDS, RELEASE_SECONDS = 4.0, 8.0


def clients(partitions: Iterable[int]) -> list[ClientPartition]:
    return [ClientPartition(TOPIC, number) for number in partitions]


class Group:
    """A listener, the events it posts, and how often fetching was stopped."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stops = 0
        self.listener = Rebalances(
            DRAIN_SECONDS, RELEASE_SECONDS, self.events.append, self._stop_fetching
        )

    def _stop_fetching(self) -> None:
        self.stops += 1

    async def assign(self, *partitions: int) -> None:
        await self.listener.on_partitions_assigned(clients(partitions))

    async def revoke(self, *partitions: int) -> None:
        await self.listener.on_partitions_revoked(clients(partitions))


def test_a_partition_arrives_begins_drains_and_goes() -> None:
    async def history() -> None:
        group = Group()
        await group.assign(0, 1)
        arrivals = frozenset({TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)})
        assert group.listener.arrivals == arrivals
        assert group.events == [Distributed(arrivals)]
        group.listener.begin([FIRST])
        assert group.listener.arrivals == {TopicPartition(TOPIC, 1)}
        assert group.listener.may_receive(FIRST)
        revoking = asyncio.ensure_future(group.revoke(0))
        await asyncio.sleep(1)
        assert not revoking.done()
        assert group.events[-1] == Revoked((FIRST,), DRAIN_SECONDS)
        assert not group.listener.may_receive(FIRST)
        assert group.listener.may_commit(FIRST)
        group.listener.release([FIRST])
        await revoking
        assert asyncio.get_running_loop().time() == 1
        assert not group.listener.may_commit(FIRST)
        assert group.stops == 2

    virtual_loop.run(history(), seconds_max=100.0)


def test_the_group_waits_for_all_that_drain_and_for_no_other() -> None:
    async def history() -> None:
        group = Group()
        group.listener.begin([FIRST, SECOND])
        revoking = asyncio.ensure_future(group.revoke(0, 1))
        await asyncio.sleep(1)
        group.listener.release([FIRST])
        await asyncio.sleep(1)
        assert not revoking.done()
        group.listener.release([SECOND])
        await revoking

    virtual_loop.run(history(), seconds_max=100.0)


def test_partitions_that_are_not_released_in_time_are_lost() -> None:
    async def history() -> None:
        group = Group()
        group.listener.begin([FIRST])
        await group.revoke(0)
        assert asyncio.get_running_loop().time() == RELEASE_SECONDS
        assert group.events[-1] == Lost((FIRST,))
        assert group.listener.ours == frozenset()

    virtual_loop.run(history(), seconds_max=100.0)


def test_only_partitions_that_are_not_released_are_lost() -> None:
    async def history() -> None:
        group = Group()
        group.listener.begin([FIRST, SECOND])
        revoking = asyncio.ensure_future(group.revoke(0, 1))
        await asyncio.sleep(1)
        group.listener.release([FIRST])
        await revoking
        assert group.events[-1] == Lost((SECOND,))
        group.listener.begin([FIRST])
        revoking = asyncio.ensure_future(group.revoke(0))
        await asyncio.sleep(1)
        # Its consumer is given up, and the source posts that it is lost.
        group.listener.end([FIRST])
        await revoking
        assert [type(event) for event in group.events] == [Revoked, Lost, Revoked]

    virtual_loop.run(history(), seconds_max=100.0)


def test_a_revocation_of_what_never_began_waits_for_nobody() -> None:
    async def history() -> None:
        group = Group()
        await group.assign(0)
        await group.revoke(0)
        assert group.listener.arrivals == frozenset()
        assert [type(event) for event in group.events] == [Distributed]

    virtual_loop.run(history(), seconds_max=100.0)


def test_each_change_of_the_arrivals_is_another_object() -> None:
    async def history() -> None:
        group = Group()
        await group.assign(0)
        before = group.listener.arrivals
        await group.revoke(0)
        await group.assign(0)
        assert group.listener.arrivals == before
        assert group.listener.arrivals is not before

    virtual_loop.run(history(), seconds_max=100.0)

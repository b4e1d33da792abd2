"""The model agrees with real Kafka on who is a member, and of what: each history runs on both."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    InconsistentGroupProtocolError,
)
from aiokafka.structs import OffsetAndMetadata

from verification.simulation.clusters import (
    SESSION_MILLISECONDS,
    Rebalances,
)
from verification.simulation.conformance import (
    ALL,
    Play,
    Stage,
    numbers,
)


def test_a_lone_member_gets_every_partition(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        member = await stage.member(rebalances)
        assert numbers(member) == ALL
        await rebalances.until(2)
        assert rebalances.calls == [("revoked", frozenset()), ("assigned", ALL)]
        assert member.partitions_for_topic(stage.topic) == ALL

    play(history)


def test_a_member_that_shares_no_assignor_with_the_others_is_refused(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.member(partition_assignment_strategy=(RangePartitionAssignor,))
        with pytest.raises(InconsistentGroupProtocolError):
            await stage.member(partition_assignment_strategy=(RoundRobinPartitionAssignor,))
        assert numbers(
            await stage.member(
                partition_assignment_strategy=(RoundRobinPartitionAssignor, RangePartitionAssignor)
            )
        )

    play(history)


def test_a_second_member_gets_half_once_the_first_has_let_go(play: Play) -> None:
    async def history(stage: Stage) -> None:
        first_rebalances, second_rebalances = Rebalances(), Rebalances()
        first = await stage.member(first_rebalances)
        second = await stage.member(second_rebalances)
        await first_rebalances.until(4)
        assert first_rebalances.calls[2] == ("revoked", ALL)
        assert first_rebalances.calls[3] == ("assigned", numbers(first))
        assert second_rebalances.calls == [("revoked", frozenset()), ("assigned", numbers(second))]
        assert len(numbers(first)) == len(numbers(second)) == 2
        assert numbers(first) | numbers(second) == ALL

    play(history)


def test_a_member_that_stops_hands_over_at_once_and_gets_no_revocation(play: Play) -> None:
    async def history(stage: Stage) -> None:
        first_rebalances, second_rebalances = Rebalances(), Rebalances()
        first = await stage.member(first_rebalances)
        second = await stage.member(second_rebalances)
        await first_rebalances.until(4)
        clock = asyncio.get_running_loop().time
        stopped = clock()
        await first.stop()
        await second_rebalances.until(4)
        assert clock() - stopped < SESSION_MILLISECONDS / 1000
        assert second_rebalances.calls[3] == ("assigned", ALL)
        assert numbers(second) == ALL
        assert len(first_rebalances.calls) == 4

    play(history)


def test_a_member_that_was_removed_learns_of_a_revocation_and_joins_again(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        member = await stage.member(rebalances)
        await stage.remove(member)
        await rebalances.until(4)
        assert rebalances.calls[2:] == [("revoked", ALL), ("assigned", ALL)]

    play(history)


def test_a_member_that_holds_up_a_rebalance_for_too_long_is_left_behind(play: Play) -> None:
    async def history(stage: Stage) -> None:
        first_rebalances = Rebalances()
        first = await stage.member(first_rebalances, rebalance_timeout_ms=1500)
        first_rebalances.may_revoke.clear()
        clock = asyncio.get_running_loop().time
        joined = clock()
        second = await stage.member(rebalance_timeout_ms=1500)
        assert clock() - joined > 1.4
        assert numbers(second) == ALL
        with pytest.raises(CommitFailedError):
            await first.commit({stage.partition(0): OffsetAndMetadata(1, "late")})
        assert await second.committed(stage.partition(0)) is None
        first_rebalances.may_revoke.set()
        await first_rebalances.until(4)
        assert len(numbers(first)) == 2

    play(history)


def test_polling_waits_for_the_end_of_a_rebalance_whatever_its_timeout(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        first = await stage.member(rebalances, auto_offset_reset="earliest")
        rebalances.may_revoke.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stage.member())
            await rebalances.until(3)
            polling = tasks.create_task(first.getmany(timeout_ms=0))
            done, _ = await asyncio.wait([polling], timeout=1)
            assert not done
            rebalances.may_revoke.set()
            assert await polling == {}

    play(history)

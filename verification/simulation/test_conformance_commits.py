"""The model agrees with real Kafka on what is committed: each history runs on both."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    MemberIdRequired,
    NoError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest
from aiokafka.structs import OffsetAndMetadata

from verification.simulation.clusters import (
    SESSION_MILLISECONDS,
    Rebalances,
)
from verification.simulation.conformance import (
    Play,
    Stage,
    generation,
    member_id,
    take,
)


def test_a_commit_is_read_back_with_its_metadata(play: Play) -> None:
    async def history(stage: Stage) -> None:
        member = await stage.member()
        await member.commit(
            {
                stage.partition(0): OffsetAndMetadata(7, "metadata"),
                stage.partition(1): OffsetAndMetadata(0, ""),
            }
        )
        assert await member.committed(stage.partition(0)) == 7
        assert await member.committed(stage.partition(1)) == 0
        assert await member.committed(stage.partition(2)) is None
        admin = await stage.clients.admin()
        asked = [stage.partition(0), stage.partition(1), stage.partition(2)]
        assert await admin.list_consumer_group_offsets(stage.group, partitions=asked) == {
            stage.partition(0): OffsetAndMetadata(7, "metadata"),
            stage.partition(1): OffsetAndMetadata(0, ""),
            stage.partition(2): OffsetAndMetadata(-1, ""),
        }
        assert await admin.list_consumer_group_offsets(stage.group) == {
            stage.partition(0): OffsetAndMetadata(7, "metadata"),
            stage.partition(1): OffsetAndMetadata(0, ""),
        }

    play(history)


def test_an_unknown_group_has_committed_nothing(play: Play) -> None:
    async def history(stage: Stage) -> None:
        admin = await stage.clients.admin()
        assert await admin.list_consumer_group_offsets(stage.group) == {}

    play(history)


def test_partitions_that_are_not_assigned_cannot_be_committed_or_sought(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        first = await stage.member(rebalances)
        second = await stage.member()
        await rebalances.until(4)
        foreign = next(iter(second.assignment()))
        with pytest.raises(IllegalStateError):
            await first.commit({foreign: OffsetAndMetadata(1, "")})
        with pytest.raises(IllegalStateError):
            first.seek(foreign, 1)
        with pytest.raises(IllegalStateError):
            await first.position(foreign)

    play(history)


def test_a_commit_is_accepted_while_the_member_is_asked_to_let_go(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        first = await stage.member(rebalances)
        rebalances.may_revoke.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stage.member())
            await rebalances.until(3)
            await first.commit({stage.partition(3): OffsetAndMetadata(5, "last")})
            rebalances.may_revoke.set()
        assert await first.committed(stage.partition(3)) == 5

    play(history)


def test_a_member_that_was_removed_cannot_commit_while_others_are_there(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        first = await stage.member(rebalances)
        second = await stage.member()
        await rebalances.until(4)
        rebalances.may_revoke.clear()
        await stage.remove(first)
        mine = min(first.assignment())
        with pytest.raises(CommitFailedError):
            await first.commit({mine: OffsetAndMetadata(1, "")})
        rebalances.may_revoke.set()
        assert await second.committed(mine) is None

    play(history)


def test_a_member_that_was_removed_can_commit_while_its_group_is_empty(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        member = await stage.member(rebalances)
        rebalances.may_revoke.clear()
        await stage.remove(member)
        await rebalances.until(3)
        # aiokafka has forgotten its generation by now, and the broker takes that for a commit from
        # outside of the group.
        await member.commit({stage.partition(0): OffsetAndMetadata(1, "")})
        rebalances.may_revoke.set()
        assert await member.committed(stage.partition(0)) == 1

    play(history)


def test_only_members_of_this_generation_can_commit(play: Play) -> None:
    async def history(stage: Stage) -> None:
        member = await stage.member()
        name, now = member_id(member), generation(member)
        assert await stage.commit_as("nobody", now) is UnknownMemberIdError
        assert await stage.commit_as("", -1) is UnknownMemberIdError
        assert await stage.commit_as(name, now - 1) is IllegalGenerationError
        assert (
            await stage.ask(HeartbeatRequest(stage.group, now - 1, name))
        ).error_code == IllegalGenerationError.errno
        assert await member.committed(stage.partition(0)) is None
        assert await stage.commit_as(name, now) is NoError
        assert await member.committed(stage.partition(0)) == 5

    play(history)


def test_no_member_can_commit_between_joining_and_the_assignment(play: Play) -> None:
    async def history(stage: Stage) -> None:
        subscription = RoundRobinPartitionAssignor.metadata([stage.topic]).encode()
        protocols = [(RoundRobinPartitionAssignor.name, subscription)]

        async def join(name: str) -> Any:
            about = (
                stage.group,
                SESSION_MILLISECONDS,
                SESSION_MILLISECONDS,
                name,
                cast(str, None),
                "consumer",
            )
            return await stage.ask(JoinGroupRequest(*about, protocols))

        promised = await join("")
        assert promised.error_code == MemberIdRequired.errno
        joined = await join(promised.member_id)
        assert (joined.error_code, joined.leader_id, joined.generation_id) == (
            0,
            promised.member_id,
            1,
        )
        assert await stage.commit_as(joined.member_id, 1) is RebalanceInProgressError

    play(history)


def test_metadata_that_is_too_large_is_refused(play: Play) -> None:
    async def history(stage: Stage) -> None:
        member = await stage.member()
        await member.commit({stage.partition(0): OffsetAndMetadata(1, "x" * 4096)})
        with pytest.raises(OffsetMetadataTooLargeError):
            await member.commit({stage.partition(0): OffsetAndMetadata(2, "x" * 4097)})
        assert await member.committed(stage.partition(0)) == 1

    play(history)


def test_a_member_continues_where_its_predecessor_has_committed(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.append(0, b"0", b"1", b"2")
        first = await stage.member()
        await first.commit({stage.partition(0): OffsetAndMetadata(2, "")})
        await first.stop()
        second = await stage.member()
        assert await second.position(stage.partition(0)) == 2
        # The other partitions have no position at all, and reading them says so.
        assert [record.value for record in await take(second, stage.partition(0), 1)] == [b"2"]

    play(history)

"""The model is held to what real Kafka does: every history here is played on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    InconsistentGroupProtocolError,
    KafkaConnectionError,
    KafkaError,
    MemberIdRequired,
    NoError,
    NoOffsetForPartitionError,
    OffsetMetadataTooLargeError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata, TopicPartition

from verification.simulation.clusters import (
    SESSION_MILLISECONDS,
    Clients,
    Cluster,
    Model,
    RealKafka,
    Rebalances,
)
from verification.simulation.virtual_loop import run

SECONDS_MAX = 60.0
ALL = frozenset({0, 1, 2, 3})


class Stage:
    """A topic of four partitions, a group nobody uses, and clients."""

    def __init__(self, cluster: Cluster, topic: str, group: str) -> None:
        self.cluster = cluster
        self.clients = Clients(cluster)
        self.topic = topic
        self.group = group

    def partition(self, number: int) -> TopicPartition:
        return TopicPartition(self.topic, number)

    async def member(self, listener: Rebalances | None = None, **options: Any) -> AIOKafkaConsumer:
        return await self.clients.member(self.group, self.topic, listener, **options)

    async def append(self, partition: int, *values: bytes) -> None:
        await self.cluster.append(self.topic, partition, values)

    async def ask(self, request: Request[Any]) -> Any:
        """Ask the group's coordinator from a connection of its own."""
        client = AIOKafkaClient(bootstrap_servers=self.cluster.bootstrap_servers)
        await client.bootstrap()
        try:
            coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self.group)
            return await client.send(coordinator, request)
        finally:
            await client.close()

    async def throw_out(self, member: AIOKafkaConsumer) -> None:
        """Take a member out of its group behind its back, as the end of its session does."""
        answer = await self.ask(LeaveGroupRequest(self.group, member_id(member)))
        assert answer.error_code == 0

    async def commit_as(self, member_id: str, generation: int) -> type[KafkaError]:
        """Commit in the name of a member; returns the broker's answer."""
        answer = await self.ask(
            OffsetCommitRequest(self.group, generation, member_id, -1, [(self.topic, [(0, 5, "")])])
        )
        ((_topic, ((_partition, code),)),) = answer.topics
        return cast(type[KafkaError], for_code(code))


def member_id(member: AIOKafkaConsumer) -> str:
    return cast(str, cast(Any, member)._coordinator.member_id)


def generation(member: AIOKafkaConsumer) -> int:
    return cast(int, cast(Any, member)._coordinator.generation)


History = Callable[[Stage], Coroutine[Any, Any, None]]


class Play(Protocol):
    """Plays a history."""

    def __call__(self, history: History) -> None: ...


@pytest.fixture(params=["model", "kafka"])
def play(request: pytest.FixtureRequest, new_topic: Callable[[str], str]) -> Iterator[Play]:
    """Plays a history on the model in virtual time, or on real Kafka in real time."""
    is_model = request.param == "model"
    bootstrap_servers = "" if is_model else request.getfixturevalue("bootstrap_servers")

    async def staged(history: History) -> None:
        cluster: Cluster = Model() if is_model else RealKafka(bootstrap_servers)
        stage = Stage(cluster, new_topic("conformance"), new_topic("group"))
        await cluster.add_topic(stage.topic, len(ALL))
        try:
            async with asyncio.timeout(SECONDS_MAX):
                await history(stage)
        finally:
            await stage.clients.stop()

    def play(history: History) -> None:
        if is_model:
            run(staged(history), seconds_max=2 * SECONDS_MAX)
        else:
            asyncio.run(staged(history))

    yield play


async def take(
    consumer: AIOKafkaConsumer, partition: TopicPartition, count: int
) -> list[ConsumerRecord[Any, Any]]:
    """Poll until this many records are received."""
    records: list[ConsumerRecord[Any, Any]] = []
    while len(records) < count:
        records += (await consumer.getmany(partition, timeout_ms=1000)).get(partition, [])
    return records


def numbers(consumer: AIOKafkaConsumer) -> frozenset[int]:
    return frozenset(partition.partition for partition in consumer.assignment())


# --- membership -----------------------------------------------------------------------------------


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


def test_a_member_that_stops_hands_over_at_once_and_hears_nothing_of_it(play: Play) -> None:
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


def test_a_member_that_was_thrown_out_hears_of_a_revocation_and_joins_again(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        member = await stage.member(rebalances)
        await stage.throw_out(member)
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


# --- commits --------------------------------------------------------------------------------------


def test_a_commit_is_read_back_with_its_metadata(play: Play) -> None:
    async def history(stage: Stage) -> None:
        member = await stage.member()
        await member.commit(
            {
                stage.partition(0): OffsetAndMetadata(7, "hints"),
                stage.partition(1): OffsetAndMetadata(0, ""),
            }
        )
        assert await member.committed(stage.partition(0)) == 7
        assert await member.committed(stage.partition(1)) == 0
        assert await member.committed(stage.partition(2)) is None
        admin = await stage.clients.admin()
        asked = [stage.partition(0), stage.partition(1), stage.partition(2)]
        assert await admin.list_consumer_group_offsets(stage.group, partitions=asked) == {
            stage.partition(0): OffsetAndMetadata(7, "hints"),
            stage.partition(1): OffsetAndMetadata(0, ""),
            stage.partition(2): OffsetAndMetadata(-1, ""),
        }
        assert await admin.list_consumer_group_offsets(stage.group) == {
            stage.partition(0): OffsetAndMetadata(7, "hints"),
            stage.partition(1): OffsetAndMetadata(0, ""),
        }

    play(history)


def test_a_group_that_nobody_knows_has_committed_nothing(play: Play) -> None:
    async def history(stage: Stage) -> None:
        admin = await stage.clients.admin()
        assert await admin.list_consumer_group_offsets(stage.group) == {}

    play(history)


def test_partitions_that_are_not_assigned_can_not_be_committed_or_sought(play: Play) -> None:
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


def test_a_member_that_was_thrown_out_can_not_commit_while_others_are_there(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        first = await stage.member(rebalances)
        second = await stage.member()
        await rebalances.until(4)
        rebalances.may_revoke.clear()
        await stage.throw_out(first)
        mine = min(first.assignment())
        with pytest.raises(CommitFailedError):
            await first.commit({mine: OffsetAndMetadata(1, "")})
        rebalances.may_revoke.set()
        assert await second.committed(mine) is None

    play(history)


def test_a_member_that_was_thrown_out_can_commit_while_its_group_is_empty(play: Play) -> None:
    async def history(stage: Stage) -> None:
        rebalances = Rebalances()
        member = await stage.member(rebalances)
        rebalances.may_revoke.clear()
        await stage.throw_out(member)
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


def test_nobody_can_commit_between_joining_and_the_assignment(play: Play) -> None:
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


def test_a_member_goes_on_from_where_its_predecessor_has_committed(play: Play) -> None:
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


# --- records --------------------------------------------------------------------------------------


def test_records_come_in_order_and_no_more_than_asked_for(play: Play) -> None:
    async def history(stage: Stage) -> None:
        values = [b"%d" % number for number in range(25)]
        await stage.append(0, *values)
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        taken: list[bytes] = []
        while len(taken) < len(values):
            got = (await reader.getmany(partition, timeout_ms=1000, max_records=10)).get(
                partition, []
            )
            assert len(got) <= 10
            taken += [cast(bytes, record.value) for record in got]
            if got:
                assert await reader.position(partition) == got[-1].offset + 1
        assert taken == values
        assert reader.last_stable_offset(partition) == 25
        assert await reader.getmany(partition, timeout_ms=100) == {}

    play(history)


def test_a_paused_partition_gives_nothing_until_it_is_resumed(play: Play) -> None:
    async def history(stage: Stage) -> None:
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        reader.pause(partition)
        assert reader.paused() == {partition}
        await stage.append(0, b"0")
        assert await reader.getmany(partition, timeout_ms=500) == {}
        reader.resume(partition)
        assert len(await take(reader, partition, 1)) == 1

    play(history)


def test_a_consumer_reads_on_from_where_it_seeks(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.append(0, b"0", b"1", b"2")
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        assert len(await take(reader, partition, 3)) == 3
        reader.seek(partition, 1)
        assert await reader.position(partition) == 1
        assert [record.offset for record in await take(reader, partition, 2)] == [1, 2]

    play(history)


def test_markers_take_offsets_and_are_never_seen(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.cluster.append_marked(stage.topic, 0, [b"0", b"1"])
        await stage.append(0, b"3")
        await stage.cluster.append_marked(stage.topic, 0, [b"4"])
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        assert [record.offset for record in await take(reader, partition, 4)] == [0, 1, 3, 4]
        assert (await reader.end_offsets([partition])) == {partition: 6}
        while await reader.position(partition) < 6:
            assert await reader.getmany(partition, timeout_ms=100) == {}

    play(history)


@pytest.mark.parametrize("offset", [0, 100])
def test_an_offset_out_of_range_is_an_error_once_per_fetch(play: Play, offset: int) -> None:
    async def history(stage: Stage) -> None:
        await stage.append(0, b"0", b"1", b"2")
        await stage.cluster.truncate(stage.topic, 0, 2)
        partition = stage.partition(0)
        reader = await stage.clients.reader(partition)
        assert await reader.beginning_offsets([partition]) == {partition: 2}
        assert await reader.end_offsets([partition]) == {partition: 3}
        reader.seek(partition, offset)
        for _ in range(2):
            with pytest.raises(OffsetOutOfRangeError):
                await take(reader, partition, 1)
        assert await reader.position(partition) == offset
        reader.seek(partition, 2)
        assert [record.offset for record in await take(reader, partition, 1)] == [2]

    play(history)


def test_without_a_commit_there_is_no_position(play: Play) -> None:
    async def history(stage: Stage) -> None:
        member = await stage.member()
        with pytest.raises(NoOffsetForPartitionError):
            await take(member, stage.partition(0), 1)
        member.seek(stage.partition(0), 0)
        assert await member.position(stage.partition(0)) == 0

    play(history)


def test_an_empty_partition_begins_and_ends_at_nought(play: Play) -> None:
    async def history(stage: Stage) -> None:
        await stage.append(1, b"0")
        member = await stage.member()
        asked = [stage.partition(0), stage.partition(1)]
        assert await member.beginning_offsets(asked) == {
            stage.partition(0): 0,
            stage.partition(1): 0,
        }
        assert await member.end_offsets(asked) == {stage.partition(0): 0, stage.partition(1): 1}
        assert member.last_stable_offset(stage.partition(0)) is None

    play(history)


def test_what_is_produced_comes_back_with_key_and_headers(play: Play) -> None:
    async def history(stage: Stage) -> None:
        options: dict[str, Any] = {
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": "lz4",
            "linger_ms": 5,
        }
        headers = [("name", b"one"), ("name", b"two"), ("empty", b"")]
        async with AIOKafkaProducer(
            bootstrap_servers=stage.cluster.bootstrap_servers, **options
        ) as producer:
            first = await producer.send(stage.topic, value=b"v" * 5000, key=b"k", headers=headers)
            second = await producer.send(stage.topic, value=None, key=b"k")
            written = await asyncio.gather(first, second)
        assert [one.offset for one in written] == [0, 1]
        assert written[0].topic_partition == written[1].topic_partition
        partition = written[0].topic_partition
        reader = await stage.clients.reader(partition, auto_offset_reset="earliest")
        whole, tombstone = await take(reader, partition, 2)
        assert (whole.key, whole.value, whole.headers) == (b"k", b"v" * 5000, tuple(headers))
        assert (whole.topic, whole.partition, whole.offset, whole.timestamp_type) == (
            *partition,
            0,
            0,
        )
        assert (tombstone.key, tombstone.value, tombstone.headers) == (b"k", None, ())

    play(history)


# --- the cluster ----------------------------------------------------------------------------------


def test_topics_are_described(play: Play) -> None:
    async def history(stage: Stage) -> None:
        admin = await stage.clients.admin()
        ((described),) = await admin.describe_topics([stage.topic])
        assert described["topic"] == stage.topic
        assert described["error_code"] == 0
        assert {one["partition"] for one in described["partitions"]} == ALL
        expected = {"error_code", "partition", "leader", "replicas", "isr", "offline_replicas"}
        assert all(one.keys() == expected for one in described["partitions"])

    play(history)


def test_a_cluster_that_is_not_there_is_reported_at_the_start(play: Play) -> None:
    async def history(_stage: Stage) -> None:
        @asynccontextmanager
        async def lost() -> Any:
            # Port 1 is no one's, here and on the virtual network.
            consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1", group_id="lost")
            consumer.subscribe(topics=["lost"])
            try:
                yield consumer
            finally:
                await consumer.stop()

        async with lost() as consumer:
            with pytest.raises(KafkaConnectionError):
                await consumer.start()

    play(history)

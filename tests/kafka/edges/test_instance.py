"""The partitions of a dead predecessor are taken over from a real broker, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, NodeNotReadyError, UnknownMemberIdError
from aiokafka.protocol.admin import DescribeGroupsRequest, DescribeGroupsResponse_v1
from aiokafka.protocol.api import Response
from aiokafka.protocol.group import LeaveGroupRequest, LeaveGroupResponse_v1

from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.instance import _make_leave, take_over
from worker.sandbox.processes import end_with
from worker.sandbox.topics import create_topics, started

WAIT_SECONDS_MAX = 30.0
# The session that would have to be waited out, and a bound far below it that leaves room for a slow
# machine.
SESSION_SECONDS = 45.0
TAKE_OVER_SECONDS_MAX = 15.0
PARTITIONS = 3

# Prints a line at each assignment, then lives until it is killed.
MEMBER = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

class Listener(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass
    def on_partitions_assigned(self, assigned):
        print(len(assigned), flush=True)

async def main():
    servers, topic, client_id = sys.argv[1:]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=topic, client_id=client_id, session_timeout_ms=45_000,
        heartbeat_interval_ms=200, max_poll_interval_ms=2**31 - 1,
    )
    consumer.subscribe([topic], listener=Listener())
    await consumer.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Assignments(ConsumerRebalanceListener):
    """Says how many partitions the member has, assignment by assignment."""

    def __init__(self) -> None:
        self._counts: asyncio.Queue[int] = asyncio.Queue()

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._counts.put_nowait(len(assigned))

    async def until(self, count: int, seconds_max: float = WAIT_SECONDS_MAX) -> None:
        """Wait until the member has exactly this many."""
        async with asyncio.timeout(seconds_max):
            while await self._counts.get() != count:
                pass


def connection(bootstrap_servers: str) -> KafkaConnection:
    return KafkaConnection(tuple(bootstrap_servers.split(",")), "test", 9.0, KafkaSecurity())


@asynccontextmanager
async def member(bootstrap_servers: str, topic: str, client_id: str) -> AsyncIterator[Assignments]:
    """A living member of the topic's group."""
    assignments = Assignments()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=topic,
        client_id=client_id,
        session_timeout_ms=round(SESSION_SECONDS * 1000),
        heartbeat_interval_ms=200,
        max_poll_interval_ms=2**31 - 1,
        enable_auto_commit=False,
    )
    consumer.subscribe([topic], listener=assignments)
    async with started(consumer):
        yield assignments


async def crash_members(
    bootstrap_servers: str, topic: str, client_id: str, *, count: int, partitions: int
) -> None:
    """Let this many processes join the topic's group and die without leaving.

    Each has this many partitions.
    """
    command = [sys.executable, "-c", MEMBER, bootstrap_servers, topic, client_id]
    processes = [
        await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, preexec_fn=end_with(os.getpid())
        )
        for _ in range(count)
    ]
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            for process in processes:
                assert process.stdout is not None
                while int(await process.stdout.readline()) != partitions:
                    pass
    finally:
        for process in processes:
            process.kill()
            await process.wait()


async def members(bootstrap_servers: str, group_id: str) -> dict[str, str]:
    """The client id of each member id in the group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    async with started(admin):
        (answer,) = await admin.describe_consumer_groups([group_id])
        # The response has one class per version of the protocol, and no common type.
        ((_error_code, _group_id, _state, _protocol_type, _protocol, members, *_),) = cast(
            Any, answer
        ).groups
        return {member_id: client_id for member_id, client_id, *_ in members}


@pytest.fixture
async def topic(bootstrap_servers: str, new_topic: Callable[[str], str]) -> str:
    name = new_topic("take-over")
    await create_topics(bootstrap_servers, {name: PARTITIONS})
    return name


@pytest.fixture
def client_id() -> str:
    return f"appmetrica-worker-{secrets.token_hex(8)}"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of failures, without the member ids."""
    return [
        f"{record.message}: {record.__dict__['detail'].split(':')[0]}"
        for record in caplog.records
        if record.name == "worker.kafka" and record.levelname == "WARNING"
    ]


async def test_a_dead_predecessors_partitions_are_there_long_before_its_session_ends(
    bootstrap_servers: str, topic: str, client_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    await crash_members(bootstrap_servers, topic, client_id, count=1, partitions=PARTITIONS)
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await take_over(connection(bootstrap_servers), topic, client_id, 10.0) == 1
    async with member(bootstrap_servers, topic, client_id) as assignments:
        await assignments.until(PARTITIONS, TAKE_OVER_SECONDS_MAX)
        assert clock() - began < TAKE_OVER_SECONDS_MAX
    assert warnings(caplog) == []


async def test_all_dead_predecessors_leave_and_a_neighbour_stays(
    bootstrap_servers: str, topic: str, client_id: str
) -> None:
    # A member id begins with its client id, and this neighbour's begins with ours.
    neighbour = f"{client_id}0"
    async with member(bootstrap_servers, topic, neighbour) as assignments:
        await assignments.until(PARTITIONS)
        before = await members(bootstrap_servers, topic)
        await crash_members(bootstrap_servers, topic, client_id, count=2, partitions=1)
        assert len(await members(bootstrap_servers, topic)) == 3
        assert await take_over(connection(bootstrap_servers), topic, client_id, 10.0) == 2
        assert await members(bootstrap_servers, topic) == before
        await assignments.until(PARTITIONS, TAKE_OVER_SECONDS_MAX)
        assert await members(bootstrap_servers, topic) == before


async def test_a_group_without_our_own_is_left_alone(
    bootstrap_servers: str, topic: str, client_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with member(bootstrap_servers, topic, "appmetrica-worker-other") as assignments:
        await assignments.until(PARTITIONS)
        before = await members(bootstrap_servers, topic)
        assert await take_over(connection(bootstrap_servers), topic, client_id, 10.0) == 0
        assert await members(bootstrap_servers, topic) == before
    assert warnings(caplog) == []


async def test_our_own_in_another_group_is_left_alone(
    bootstrap_servers: str, topic: str, client_id: str
) -> None:
    async with member(bootstrap_servers, topic, client_id) as assignments:
        await assignments.until(PARTITIONS)
        before = await members(bootstrap_servers, topic)
        assert (
            await take_over(connection(bootstrap_servers), f"{topic}-other", client_id, 10.0) == 0
        )
        assert await members(bootstrap_servers, topic) == before


async def test_a_group_that_does_not_exist_has_nobody_to_take_over_from(
    bootstrap_servers: str,
    new_topic: Callable[[str], str],
    client_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await take_over(connection(bootstrap_servers), new_topic("nobody"), client_id, 10.0) == 0
    assert warnings(caplog) == []


class Refusing:
    """A connected client, except that each request of one kind is answered by the next of these."""

    def __init__(self, client: AIOKafkaClient, kind: type, answers: list[Response]) -> None:
        self.get_random_node = client.get_random_node
        self.coordinator_lookup = client.coordinator_lookup
        self._client = client
        self._kind = kind
        self._answers = answers

    async def send(self, node_id: int, request: Any) -> Any:
        if isinstance(request, self._kind):
            return self._answers.pop(0)
        return await self._client.send(node_id, request)


@asynccontextmanager
async def refusing(
    bootstrap_servers: str, kind: type, answers: list[Response]
) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        yield cast(AIOKafkaClient, Refusing(client, kind, answers))
    finally:
        await client.close()


async def test_a_group_that_may_not_be_described_is_an_error(bootstrap_servers: str) -> None:
    answer = DescribeGroupsResponse_v1(
        0, [(GroupAuthorizationFailedError.errno, "group", "", "", "", [])]
    )
    async with refusing(bootstrap_servers, DescribeGroupsRequest, [answer]) as client:
        with pytest.raises(
            GroupAuthorizationFailedError, match="can't describe the group secret-group"
        ):
            await _make_leave(client, "secret-group", "ours")


async def test_a_member_that_cannot_leave_does_not_keep_the_next_one(
    bootstrap_servers: str, topic: str, client_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    await crash_members(bootstrap_servers, topic, client_id, count=3, partitions=1)
    answers: list[Response] = [
        LeaveGroupResponse_v1(0, code) for code in (UnknownMemberIdError.errno, 0, 0)
    ]
    async with refusing(bootstrap_servers, LeaveGroupRequest, answers) as client:
        assert await _make_leave(client, topic, client_id) == 2
    assert answers == []
    assert warnings(caplog) == ["take_over_failed: UnknownMemberIdError"]


async def test_a_cluster_that_names_no_brokers_is_an_error() -> None:
    with pytest.raises(NodeNotReadyError):
        await _make_leave(AIOKafkaClient(), "group", "ours")


@contextmanager
def silent_broker() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def closed_port() -> str:
    """An address where nobody listens."""
    with silent_broker() as address:
        return address


@pytest.mark.parametrize("brokers", [1, 5])
async def test_brokers_that_never_answer_cost_no_more_than_the_time_allowed(
    client_id: str, caplog: pytest.LogCaptureFixture, brokers: int
) -> None:
    clock = asyncio.get_running_loop().time
    with silent_broker() as address:
        unreachable = KafkaConnection((address,) * brokers, "test", 60.0, KafkaSecurity())
        began = clock()
        assert await take_over(unreachable, "group", client_id, 1.0) == 0
        # All of it may be used, and a busy machine is late; without a bound it would be a minute.
        assert clock() - began < 5.0
    assert warnings(caplog) in (
        ["take_over_failed: KafkaConnectionError"],
        ["take_over_failed: TimeoutError"],
    )


async def test_a_closed_port_costs_no_time(
    client_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    unreachable = KafkaConnection((closed_port(),), "test", 60.0, KafkaSecurity())
    async with asyncio.timeout(5.0):
        assert await take_over(unreachable, "group", client_id, 60.0) == 0
    assert warnings(caplog) == ["take_over_failed: KafkaConnectionError"]


async def test_one_silent_broker_among_the_living_does_not_prevent_it(
    bootstrap_servers: str, topic: str, client_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    await crash_members(bootstrap_servers, topic, client_id, count=1, partitions=PARTITIONS)
    with silent_broker() as address:
        partly = KafkaConnection(
            (address, *bootstrap_servers.split(",")), "test", 60.0, KafkaSecurity()
        )
        # aiokafka tries the brokers in random order: of this many, some begin with the silent one.
        counts = await asyncio.gather(*(take_over(partly, topic, client_id, 5.0) for _ in range(8)))
    assert sum(counts) == 1
    # Several may have found the member before it left.
    assert set(warnings(caplog)) <= {"take_over_failed: UnknownMemberIdError"}


async def test_it_can_be_cancelled(client_id: str) -> None:
    with silent_broker() as address:
        task = asyncio.create_task(
            take_over(
                KafkaConnection((address,), "test", 60.0, KafkaSecurity()), "group", client_id, 60.0
            )
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await task
        assert task.cancelled()


async def test_a_certificate_that_is_not_there_is_a_warning(
    tmp_path: Path, client_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    security = KafkaSecurity("SSL", ca_file=tmp_path / "missing")
    assert (
        await take_over(
            KafkaConnection(("localhost:1",), "test", 60.0, security), "group", client_id, 5.0
        )
        == 0
    )
    assert warnings(caplog) == ["take_over_failed: TlsNotUsableError"]

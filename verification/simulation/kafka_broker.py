"""The only broker of the model: the logs, the groups, and how each request is answered.

It speaks the newest versions that both aiokafka 0.14 and Kafka 4.2 know, so that the client takes
the same paths as with that.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

from aiokafka.errors import (
    BrokerResponseError,
    LeaderNotAvailableError,
    NoError,
    NotLeaderForPartitionError,
    OffsetMetadataTooLargeError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.admin import (
    ApiVersionRequest_v0,
    ApiVersionResponse_v0,
    DescribeGroupsRequest_v2,
    DescribeGroupsRequest_v3,
    DescribeGroupsResponse_v2,
    DescribeGroupsResponse_v3,
)
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.commit import (
    OffsetCommitRequest_v3,
    OffsetCommitResponse_v3,
    OffsetFetchRequest_v3,
    OffsetFetchResponse_v3,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest_v1, FindCoordinatorResponse_v1
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.group import (
    HeartbeatRequest_v1,
    HeartbeatResponse_v1,
    JoinGroupRequest_v5,
    JoinGroupResponse_v5,
    LeaveGroupRequest_v1,
    LeaveGroupResponse_v1,
    SyncGroupRequest_v3,
    SyncGroupResponse_v3,
)
from aiokafka.protocol.metadata import MetadataRequest_v5, MetadataResponse_v5
from aiokafka.protocol.offset import OffsetRequest_v3, OffsetResetStrategy, OffsetResponse_v3
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.transaction import InitProducerIdRequest_v0, InitProducerIdResponse_v0
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from verification.simulation.kafka_faults import Faults
from verification.simulation.kafka_group import Group, Joining, State
from verification.simulation.kafka_log import PartitionLog, corrupted
from worker.edges.kafka.aiokafka_internals.requests import (
    EpochEndRequestStruct,
    EpochEndResponse,
    OffsetsRequestStruct,
    OffsetsResponse,
)
from worker.edges.kafka.reader import FETCH_WAIT_MILLISECONDS

NODE_ID = 0
# The isolation level in which only records of committed transactions are seen.
READ_COMMITTED = 1
NO_LEADER = -1
HOST, PORT = "kafka.model", 9092
# The broker that clients ask once they have found the cluster by the other name.
BROKER_HOST = "broker.model"
# The broker's default, offset.metadata.max.bytes.
COMMIT_METADATA_BYTES_MAX = 4096
# Without an authorizer: READ, DELETE and DESCRIBE of a group, as bits.
ALL_OPERATIONS = 1 << 3 | 1 << 6 | 1 << 8
NOTHING_COMMITTED = OffsetAndMetadata(-1, "")

OnCommit = Callable[[str, str, dict[TopicPartition, tuple[int, str]]], None]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and the error that the request must meet, if any."""

    client_id: str
    error: type[BrokerResponseError] | None

    def code(self, otherwise: type[Any] = NoError) -> int:
        """The code of the requested error, else of the other error."""
        return (self.error or otherwise).errno


Handler = Callable[[Any, Asking], Awaitable[Response]]


class Broker:
    """State and answers. Latency, lost answers and lost connections are none of its business."""

    def __init__(
        self, faults: Faults, unix_milliseconds: Callable[[], int], is_reachable: Callable[[], bool]
    ) -> None:
        self.topics: dict[str, list[PartitionLog]] = {}
        self.groups: dict[str, Group] = {}
        self.on_commit: OnCommit | None = None
        self.on_refusal_for_size: Callable[[str, int], None] | None = None
        self.commit_metadata_bytes_max = COMMIT_METADATA_BYTES_MAX
        self.host = BROKER_HOST
        self._faults = faults
        self._unix_milliseconds = unix_milliseconds
        self._is_reachable = is_reachable
        self._producer_ids = count(1)
        # An onlooker has asked for records: no member is in such a hurry.
        self.onlooked = asyncio.Event()
        self._appended = asyncio.Event()
        handlers: dict[type[RequestStruct], Handler] = {
            ApiVersionRequest_v0: self._versions,
            MetadataRequest_v5: self._metadata,
            FindCoordinatorRequest_v1: self._coordinator,
            ProduceRequest_v7: self._produce,
            InitProducerIdRequest_v0: self._producer_id,
            FetchRequest_v11: self._fetch,
            OffsetRequest_v3: self._offsets,
            OffsetsRequestStruct: self._offsets_with_epochs,
            EpochEndRequestStruct: self._epoch_ends,
            JoinGroupRequest_v5: self._join,
            SyncGroupRequest_v3: self._sync,
            HeartbeatRequest_v1: self._heartbeat,
            LeaveGroupRequest_v1: self._leave,
            DescribeGroupsRequest_v2: self._describe_groups,
            DescribeGroupsRequest_v3: self._describe_groups,
            OffsetCommitRequest_v3: self._commit,
            OffsetFetchRequest_v3: self._committed,
        }
        self.handlers = {
            (request.API_KEY, request.API_VERSION): (request, answer)
            for request, answer in handlers.items()
        }

    def group(self, group_id: str) -> Group:
        """The group of that name; it is created at the first request."""
        return self.groups.setdefault(group_id, Group(group_id, self._is_reachable))

    def log(self, topic: str, partition: int) -> PartitionLog | None:
        """The log of the partition; None if it doesn't exist."""
        logs = self.topics.get(topic, [])
        return logs[partition] if 0 <= partition < len(logs) else None

    def wake_fetches(self) -> None:
        """Something was appended: answer those who wait for it."""
        self._appended.set()
        self._appended = asyncio.Event()

    # --- the cluster ------------------------------------------------------------------------------

    async def _versions(self, _request: ApiVersionRequest_v0, asking: Asking) -> Response:
        known: defaultdict[int, list[int]] = defaultdict(list)
        for key, version in self.handlers:
            known[key].append(version)
        return ApiVersionResponse_v0(
            asking.code(), [(key, min(its), max(its)) for key, its in known.items()]
        )

    async def _metadata(self, request: Any, asking: Asking) -> Response:
        names = list(self.topics) if request.topics is None else request.topics
        topics = [self._topic_metadata(name, asking) for name in names]
        return MetadataResponse_v5(0, [(NODE_ID, self.host, PORT, None)], "model", NODE_ID, topics)

    def _topic_metadata(self, name: str, asking: Asking) -> tuple[Any, ...]:
        logs = self.topics.get(name)
        if logs is None or asking.error is not None:
            return (asking.code(UnknownTopicOrPartitionError), name, False, [])
        return (
            0,
            name,
            False,
            [self._partition_metadata(TopicPartition(name, log.partition)) for log in logs],
        )

    def _partition_metadata(self, partition: TopicPartition) -> tuple[Any, ...]:
        if partition in self._faults.leaderless:
            return (
                LeaderNotAvailableError.errno,
                partition.partition,
                NO_LEADER,
                [NODE_ID],
                [],
                [NODE_ID],
            )
        return (0, partition.partition, NODE_ID, [NODE_ID], [NODE_ID], [])

    async def _coordinator(self, _request: Any, asking: Asking) -> Response:
        return FindCoordinatorResponse_v1(0, asking.code(), None, NODE_ID, self.host, PORT)

    # --- records ----------------------------------------------------------------------------------

    async def _producer_id(self, _request: Any, asking: Asking) -> Response:
        return InitProducerIdResponse_v0(0, asking.code(), next(self._producer_ids), 0)

    async def _produce(self, request: Any, asking: Asking) -> Response:
        topics = []
        for topic, partitions in request.topics:
            answers = [
                (number, *self._append(self.log(topic, number), data, asking))
                for number, data in partitions
            ]
            topics.append((topic, answers))
        self.wake_fetches()
        return ProduceResponse_v7(topics, 0)

    def _append(
        self, log: PartitionLog | None, data: bytes, asking: Asking
    ) -> tuple[int, int, int, int]:
        if log is None or asking.error is not None:
            return asking.code(UnknownTopicOrPartitionError), -1, -1, -1
        if TopicPartition(log.topic, log.partition) in self._faults.leaderless:
            return NotLeaderForPartitionError.errno, -1, -1, -1
        batches = MemoryRecords(data)
        first = log.end
        while (batch := batches.next_batch()) is not None:
            identity = (
                batch.producer_id or -1,
                getattr(batch, "producer_epoch", -1),
                getattr(batch, "base_sequence", -1),
            )
            known = log.first_offset_of(identity)
            if known is not None:
                return 0, known, -1, log.start
            if identity[0] >= 0:
                log.remember(identity, log.end)
            for record in batch:
                # Not the record's own time: the client took it from the machine's clock, which no
                # history repeats.
                log.append(
                    self._unix_milliseconds(),
                    record.key,
                    record.value,
                    [(name, value or b"") for name, value in record.headers],
                )
        return 0, first, -1, log.start

    async def _fetch(self, request: Any, asking: Asking) -> Response:
        if request.max_wait_time <= FETCH_WAIT_MILLISECONDS:
            self.onlooked.set()
        try:
            async with asyncio.timeout(request.max_wait_time / 1000):
                while not self._has_news(request):
                    await self._appended.wait()
        except TimeoutError:
            pass
        budget = request.max_bytes
        topics = []
        for topic, partitions in sorted(request.topics):
            answers = []
            for number, _epoch, offset, _start, bytes_max in sorted(partitions):
                answer = self._read(
                    TopicPartition(topic, number), offset, min(budget, bytes_max), asking
                )
                budget = max(0, budget - len(answer[-1]))
                answers.append(answer)
            topics.append((topic, answers))
        return FetchResponse_v11(0, 0, 0, topics)

    def _has_news(self, request: Any) -> bool:
        wanted = [
            (self.log(topic, number), offset)
            for topic, parts in request.topics
            for number, _, offset, *_ in parts
        ]
        asked = {
            TopicPartition(topic, number) for topic, parts in request.topics for number, *_ in parts
        }
        if asked & self._faults.leaderless:
            return True
        return any(
            log is None or not log.start <= offset <= log.end or offset < log.stable_end
            for log, offset in wanted
        )

    def _read(
        self, partition: TopicPartition, offset: int, bytes_max: int, asking: Asking
    ) -> tuple[Any, ...]:
        log = self.log(*partition)
        if log is None or asking.error is not None:
            return (
                partition.partition,
                asking.code(UnknownTopicOrPartitionError),
                -1,
                -1,
                -1,
                [],
                -1,
                b"",
            )
        if partition in self._faults.leaderless:
            return (partition.partition, NotLeaderForPartitionError.errno, -1, -1, -1, [], -1, b"")
        if not log.start <= offset <= log.end:
            return (partition.partition, OffsetOutOfRangeError.errno, -1, -1, -1, [], -1, b"")
        # A budget that others have used up leaves nothing; an empty answer gets the first record
        # however large it is.
        batches = log.read(offset, bytes_max) if bytes_max > 0 else []
        if batches and self._faults.takes_corruption(partition):
            batches[-1] = corrupted(batches[-1])
        return (
            partition.partition,
            0,
            log.end,
            log.stable_end,
            log.start,
            [],
            -1,
            b"".join(batches),
        )

    async def _offsets(self, request: Any, asking: Asking) -> Response:
        committed_only = request.isolation_level == READ_COMMITTED
        topics = []
        for topic, partitions in request.topics:
            answers = []
            for number, at in partitions:
                error, time, offset = self._offset(log := self.log(topic, number), at, asking)
                if log is not None and at == OffsetResetStrategy.LATEST and committed_only:
                    offset = min(offset, log.stable_end)
                answers.append((number, error, time, offset))
            topics.append((topic, answers))
        return OffsetResponse_v3(0, topics)

    async def _offsets_with_epochs(self, request: Any, asking: Asking) -> Response:
        topics = []
        for topic, partitions in request.topics:
            answers = []
            for number, _, at in partitions:
                log = self.log(topic, number)
                code, timestamp, offset = self._offset(log, at, asking)
                if (
                    log is not None
                    and at == OffsetResetStrategy.LATEST
                    and request.isolation_level == READ_COMMITTED
                ):
                    offset = min(offset, log.stable_end)
                answers.append(
                    (
                        number,
                        code,
                        timestamp,
                        offset,
                        log.epoch if log is not None and not code else -1,
                    )
                )
            topics.append((topic, answers))
        return OffsetsResponse(0, topics)

    async def _epoch_ends(self, request: Any, asking: Asking) -> Response:
        topics = []
        for topic, partitions in request.topics:
            answers = []
            for number, _, epoch in partitions:
                log = self.log(topic, number)
                if (
                    log is None
                    or asking.error is not None
                    or TopicPartition(topic, number) in self._faults.leaderless
                ):
                    answers.append((asking.code(NotLeaderForPartitionError), number, -1, -1))
                else:
                    answers.append((0, number, *log.epoch_end(epoch)))
            topics.append((topic, answers))
        return EpochEndResponse(0, topics)

    def _offset(self, log: PartitionLog | None, at: int, asking: Asking) -> tuple[int, int, int]:
        """Error code, time, offset."""
        if log is None or asking.error is not None:
            return asking.code(UnknownTopicOrPartitionError), -1, -1
        if TopicPartition(log.topic, log.partition) in self._faults.leaderless:
            return NotLeaderForPartitionError.errno, -1, -1
        if at == OffsetResetStrategy.LATEST:
            return 0, -1, log.end
        if at == OffsetResetStrategy.EARLIEST:
            return 0, -1, log.start
        offset, timestamp_ms = log.offset_at(at)
        return 0, timestamp_ms, offset

    # --- groups -----------------------------------------------------------------------------------

    async def _join(self, request: Any, asking: Asking) -> Response:
        if asking.error is not None:
            return JoinGroupResponse_v5(0, asking.code(), -1, "", "", request.member_id, [])
        timeouts = request.session_timeout / 1000, request.rebalance_timeout / 1000
        joining = Joining(
            request.member_id, asking.client_id, *timeouts, tuple(request.group_protocols)
        )
        joined = await self.group(request.group).join(joining)
        about = (
            joined.generation,
            joined.protocol,
            joined.leader_id,
            joined.member_id,
            list(joined.members),
        )
        return JoinGroupResponse_v5(0, joined.error.errno, *about)

    async def _sync(self, request: Any, asking: Asking) -> Response:
        if asking.error is not None:
            return SyncGroupResponse_v3(0, asking.code(), b"")
        assignments = dict(request.group_assignment)
        synced = await self.group(request.group).sync(
            request.member_id, request.generation_id, assignments
        )
        return SyncGroupResponse_v3(0, synced.error.errno, synced.assignment)

    async def _heartbeat(self, request: Any, asking: Asking) -> Response:
        error = asking.error or self.group(request.group).heartbeat(
            request.member_id, request.generation_id
        )
        return HeartbeatResponse_v1(0, error.errno)

    async def _leave(self, request: Any, asking: Asking) -> Response:
        error = asking.error or self.group(request.group).leave(request.member_id)
        return LeaveGroupResponse_v1(0, error.errno)

    async def _describe_groups(self, request: Any, asking: Asking) -> Response:
        described = [self._description(name, asking) for name in request.groups]
        if request.API_VERSION == DescribeGroupsResponse_v2.API_VERSION:
            return DescribeGroupsResponse_v2(0, described)
        return DescribeGroupsResponse_v3(0, [(*one, ALL_OPERATIONS) for one in described])

    def _description(self, name: str, asking: Asking) -> tuple[Any, ...]:
        group = self.group(name)
        members = [
            (one, m.joining.client_id, "/model", b"", m.assignment)
            for one, m in group.members.items()
        ]
        protocol = group.protocol if group.state is State.STABLE else ""
        return (asking.code(), name, group.state.value, "consumer", protocol, members)

    async def _commit(self, request: Any, asking: Asking) -> Response:
        offsets = {
            TopicPartition(topic, number): OffsetAndMetadata(offset, metadata or "")
            for topic, partitions in request.topics
            for number, offset, metadata in partitions
        }
        refused: dict[TopicPartition, type[Any]] = {
            partition: OffsetMetadataTooLargeError
            if self.log(*partition) is not None
            else UnknownTopicOrPartitionError
            for partition, position in offsets.items()
            if len(position.metadata.encode()) > self.commit_metadata_bytes_max
            or self.log(*partition) is None
        }
        accepted = {
            partition: position
            for partition, position in offsets.items()
            if partition not in refused
        }
        group = self.group(request.consumer_group)
        about = (request.consumer_id, request.consumer_group_generation_id)
        error = asking.error or group.commit(*about, accepted)
        sizes = [
            len(offsets[one].metadata)
            for one, why in refused.items()
            if why is OffsetMetadataTooLargeError
        ]
        # Where the whole commit is refused for something else the member learns nothing of sizes.
        if error is NoError and sizes and self.on_refusal_for_size is not None:
            self.on_refusal_for_size(asking.client_id, min(sizes))
        if error is NoError and accepted and self.on_commit is not None:
            positions = {
                one: (position.offset, position.metadata) for one, position in accepted.items()
            }
            self.on_commit(group.group_id, asking.client_id, positions)
        codes = {
            one: (refused.get(one, NoError) if error is NoError else error).errno for one in offsets
        }
        return OffsetCommitResponse_v3(
            0, [(t, [(p, codes[TopicPartition(t, p)]) for p in ps]) for t, ps in _by_topic(offsets)]
        )

    async def _committed(self, request: Any, asking: Asking) -> Response:
        # A coordinator that can't answer for the group says so once, with no word on any partition.
        if asking.error is not None:
            return OffsetFetchResponse_v3(0, [], asking.code())
        committed = self.group(request.consumer_group).committed
        topics = _by_topic(committed) if request.topics is None else request.topics
        answer = []
        for topic, partitions in topics:
            found = [
                (number, committed.get(TopicPartition(topic, number), NOTHING_COMMITTED))
                for number in partitions
            ]
            answer.append((topic, [(number, *position, 0) for number, position in found]))
        return OffsetFetchResponse_v3(0, answer, 0)


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: defaultdict[str, list[int]] = defaultdict(list)
    for topic, number in partitions:
        topics[topic].append(number)
    return list(topics.items())

"""The coordinator of all groups: their members, and what they have committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka.errors import NoError, OffsetMetadataTooLargeError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import (
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
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from verification.simulation.kafka_group import Group, State
from verification.simulation.kafka_member import Joining
from verification.simulation.kafka_wire import Caller, Handler

# The broker's default, offset.metadata.max.bytes.
COMMIT_METADATA_BYTES_MAX = 4096
# Without an authorizer: READ, DELETE and DESCRIBE of a group, as bits.
ALL_OPERATIONS = 1 << 3 | 1 << 6 | 1 << 8
NOTHING_COMMITTED = OffsetAndMetadata(-1, "")

OnCommit = Callable[[str, str, dict[TopicPartition, tuple[int, str]]], None]


class Coordinator:
    """Owns the groups.

    Args:
        has_partition: whether a partition exists.
        is_reachable: whether heartbeats can arrive.
        on_commit: called at every accepted commit, with the group, the member's client id and the
            positions.
    """

    def __init__(
        self,
        has_partition: Callable[[TopicPartition], bool],
        is_reachable: Callable[[], bool],
        on_commit: OnCommit | None,
    ) -> None:
        self._groups: dict[str, Group] = {}
        self._has_partition = has_partition
        self._is_reachable = is_reachable
        self._on_commit = on_commit
        self._on_refusal_for_size: Callable[[str, int], None] | None = None
        self._commit_metadata_bytes_max = COMMIT_METADATA_BYTES_MAX

    @property
    def handlers(self) -> Mapping[type[RequestStruct], Handler]:
        """The requests that it answers."""
        return {
            JoinGroupRequest_v5: self._join,
            SyncGroupRequest_v3: self._sync,
            HeartbeatRequest_v1: self._heartbeat,
            LeaveGroupRequest_v1: self._leave,
            DescribeGroupsRequest_v2: self._describe_groups,
            DescribeGroupsRequest_v3: self._describe_groups,
            OffsetCommitRequest_v3: self._commit,
            OffsetFetchRequest_v3: self._fetch_committed,
        }

    def members(self, group_id: str) -> list[str]:
        """The client ids of the group's members, in the order in which they have joined."""
        return [member.joining.client_id for member in self._group(group_id).members.values()]

    def committed(self, group_id: str, partition: TopicPartition) -> tuple[int, str] | None:
        """What the group has committed for the partition: offset and metadata."""
        position = self._group(group_id).committed.get(partition)
        return None if position is None else (position.offset, position.metadata)

    def set_committed(
        self, group_id: str, partition: TopicPartition, offset: int, metadata: str
    ) -> None:
        """Replace the committed position of the group for this partition."""
        self._group(group_id).committed[partition] = OffsetAndMetadata(offset, metadata)

    # --- faults -----------------------------------------------------------------------------------

    def limit_commit_metadata(self, bytes_max: int, on_refusal: Callable[[str, int], None]) -> None:
        """Set `offset.metadata.max.bytes`, and report larger commits: client id and size."""
        self._commit_metadata_bytes_max = bytes_max
        self._on_refusal_for_size = on_refusal

    def expire_session(self, group_id: str, client_id: str) -> None:
        """Remove the members with this client id, as if no heartbeat had arrived.

        They learn of it from the answer to their next request.
        """
        group = self._group(group_id)
        expired = [
            member_id
            for member_id, member in group.members.items()
            if member.joining.client_id == client_id
        ]
        for member_id in expired:
            group.remove(member_id)

    def force_rebalance(self, group_id: str) -> None:
        """Ask all members to join again."""
        group = self._group(group_id)
        if group.members:
            group.rebalance()

    def damage_metadata(self, group_id: str) -> None:
        """Change one character in the middle of each metadata text that the group has committed."""
        for partition, (offset, metadata) in list(self._group(group_id).committed.items()):
            if metadata:
                middle = len(metadata) // 2
                # The text is still base64: only the checksum shows the damage.
                changed = "B" if metadata[middle] != "B" else "C"
                damaged = metadata[:middle] + changed + metadata[middle + 1 :]
                self.set_committed(group_id, partition, offset, damaged)
                if self._on_commit is not None:
                    self._on_commit(group_id, "another client", {partition: (offset, damaged)})

    # --- requests ---------------------------------------------------------------------------------

    def _group(self, group_id: str) -> Group:
        """The group of that name; it is created at the first request."""
        return self._groups.setdefault(group_id, Group(group_id, self._is_reachable))

    async def _join(self, request: Any, caller: Caller) -> Response:
        if caller.error is not None:
            return JoinGroupResponse_v5(0, caller.code(), -1, "", "", request.member_id, [])
        timeouts = request.session_timeout / 1000, request.rebalance_timeout / 1000
        joining = Joining(
            request.member_id, caller.client_id, *timeouts, tuple(request.group_protocols)
        )
        joined = await self._group(request.group).join(joining)
        about = (
            joined.generation,
            joined.protocol,
            joined.leader_id,
            joined.member_id,
            list(joined.members),
        )
        return JoinGroupResponse_v5(0, joined.error.errno, *about)

    async def _sync(self, request: Any, caller: Caller) -> Response:
        if caller.error is not None:
            return SyncGroupResponse_v3(0, caller.code(), b"")
        assignments = dict(request.group_assignment)
        synced = await self._group(request.group).sync(
            request.member_id, request.generation_id, assignments
        )
        return SyncGroupResponse_v3(0, synced.error.errno, synced.assignment)

    async def _heartbeat(self, request: Any, caller: Caller) -> Response:
        error = caller.error or self._group(request.group).heartbeat(
            request.member_id, request.generation_id
        )
        return HeartbeatResponse_v1(0, error.errno)

    async def _leave(self, request: Any, caller: Caller) -> Response:
        error = caller.error or self._group(request.group).leave(request.member_id)
        return LeaveGroupResponse_v1(0, error.errno)

    async def _describe_groups(self, request: Any, caller: Caller) -> Response:
        described = [self._description(name, caller) for name in request.groups]
        if request.API_VERSION == DescribeGroupsResponse_v2.API_VERSION:
            return DescribeGroupsResponse_v2(0, described)
        return DescribeGroupsResponse_v3(0, [(*one, ALL_OPERATIONS) for one in described])

    def _description(self, name: str, caller: Caller) -> tuple[Any, ...]:
        group = self._group(name)
        members = [
            (one, m.joining.client_id, "/model", b"", m.assignment)
            for one, m in group.members.items()
        ]
        protocol = group.protocol if group.state is State.STABLE else ""
        return (caller.code(), name, group.state.value, "consumer", protocol, members)

    async def _commit(self, request: Any, caller: Caller) -> Response:
        offsets = {
            TopicPartition(topic, number): OffsetAndMetadata(offset, metadata or "")
            for topic, partitions in request.topics
            for number, offset, metadata in partitions
        }
        refused: dict[TopicPartition, type[Any]] = {
            partition: OffsetMetadataTooLargeError
            if self._has_partition(partition)
            else UnknownTopicOrPartitionError
            for partition, position in offsets.items()
            if len(position.metadata.encode()) > self._commit_metadata_bytes_max
            or not self._has_partition(partition)
        }
        accepted = {
            partition: position
            for partition, position in offsets.items()
            if partition not in refused
        }
        group = self._group(request.consumer_group)
        about = (request.consumer_id, request.consumer_group_generation_id)
        error = caller.error or group.commit(*about, accepted)
        sizes = [
            len(offsets[one].metadata)
            for one, why in refused.items()
            if why is OffsetMetadataTooLargeError
        ]
        # Where the whole commit is refused for another reason, the answer doesn't mention sizes.
        if error is NoError and sizes and self._on_refusal_for_size is not None:
            self._on_refusal_for_size(caller.client_id, min(sizes))
        if error is NoError and accepted and self._on_commit is not None:
            positions = {
                one: (position.offset, position.metadata) for one, position in accepted.items()
            }
            self._on_commit(group.group_id, caller.client_id, positions)
        codes = {
            one: (refused.get(one, NoError) if error is NoError else error).errno for one in offsets
        }
        return OffsetCommitResponse_v3(
            0, [(t, [(p, codes[TopicPartition(t, p)]) for p in ps]) for t, ps in _by_topic(offsets)]
        )

    async def _fetch_committed(self, request: Any, caller: Caller) -> Response:
        # A coordinator that can't answer for the group sends one error, and no partitions.
        if caller.error is not None:
            return OffsetFetchResponse_v3(0, [], caller.code())
        committed = self._group(request.consumer_group).committed
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

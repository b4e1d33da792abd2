"""The only broker of the model: its metadata of the cluster, and the handler of each request.

It speaks the newest versions that both aiokafka 0.14 and Kafka 4.2 know, so that the client takes
the same paths as with Kafka 4.2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from aiokafka.errors import LeaderNotAvailableError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import ApiVersionRequest_v0, ApiVersionResponse_v0
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest_v1, FindCoordinatorResponse_v1
from aiokafka.protocol.metadata import MetadataRequest_v5, MetadataResponse_v5
from aiokafka.structs import TopicPartition

from verification.simulation.kafka_coordinator import Coordinator
from verification.simulation.kafka_faults import Faults
from verification.simulation.kafka_leader import Leader
from verification.simulation.kafka_wire import Caller, Handler

NODE_ID = 0
NO_LEADER = -1


class Broker:
    """Leader and coordinator in one. It knows nothing of connections.

    Args:
        leader: answers for records and offsets.
        coordinator: answers for groups.
        faults: has the partitions without a leader.
        address: the host and the port that clients are given for this broker now.
    """

    def __init__(
        self,
        leader: Leader,
        coordinator: Coordinator,
        faults: Faults,
        address: Callable[[], tuple[str, int]],
    ) -> None:
        self._topics = leader.topics
        self._faults = faults
        self._address = address
        handlers: dict[type[RequestStruct], Handler] = {
            ApiVersionRequest_v0: self._versions,
            MetadataRequest_v5: self._metadata,
            FindCoordinatorRequest_v1: self._coordinator,
            **leader.handlers,
            **coordinator.handlers,
        }
        self.handlers = {
            (request.API_KEY, request.API_VERSION): (request, answer)
            for request, answer in handlers.items()
        }

    async def _versions(self, _request: ApiVersionRequest_v0, caller: Caller) -> Response:
        known: defaultdict[int, list[int]] = defaultdict(list)
        for key, version in self.handlers:
            known[key].append(version)
        return ApiVersionResponse_v0(
            caller.code(), [(key, min(its), max(its)) for key, its in known.items()]
        )

    async def _metadata(self, request: Any, caller: Caller) -> Response:
        names = list(self._topics) if request.topics is None else request.topics
        topics = [self._topic_metadata(name, caller) for name in names]
        return MetadataResponse_v5(0, [(NODE_ID, *self._address(), None)], "model", NODE_ID, topics)

    def _topic_metadata(self, name: str, caller: Caller) -> tuple[Any, ...]:
        logs = self._topics.get(name)
        if logs is None or caller.error is not None:
            return (caller.code(UnknownTopicOrPartitionError), name, False, [])
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

    async def _coordinator(self, _request: Any, caller: Caller) -> Response:
        return FindCoordinatorResponse_v1(0, caller.code(), None, NODE_ID, *self._address())

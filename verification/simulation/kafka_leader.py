"""The leader of all partitions: their logs, and the answers to requests for records and offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from aiokafka.errors import (
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.offset import OffsetRequest_v3, OffsetResetStrategy, OffsetResponse_v3
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.transaction import InitProducerIdRequest_v0, InitProducerIdResponse_v0
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from verification.simulation.kafka_faults import Faults
from verification.simulation.kafka_log import PartitionLog, corrupted
from verification.simulation.kafka_wire import Caller, Handler
from worker.edges.kafka.aiokafka_internals.requests import (
    EpochEndRequestStruct,
    EpochEndResponse,
    OffsetsRequestStruct,
    OffsetsResponse,
)
from worker.edges.kafka.reader import FETCH_WAIT_MILLISECONDS

# The isolation level in which only records of committed transactions are seen.
READ_COMMITTED = 1


class Leader:
    """Owns the logs. Reads and writes of a partition without a leader are refused."""

    def __init__(self, faults: Faults, unix_milliseconds: Callable[[], int]) -> None:
        self.topics: dict[str, list[PartitionLog]] = {}
        self._faults = faults
        self._unix_milliseconds = unix_milliseconds
        self._producer_ids = count(1)
        # Set when an onlooker asks for records: only onlookers wait this short.
        self._onlooked = asyncio.Event()
        self._appended = asyncio.Event()

    @property
    def handlers(self) -> Mapping[type[RequestStruct], Handler]:
        """The requests that it answers."""
        return {
            ProduceRequest_v7: self._produce,
            InitProducerIdRequest_v0: self._producer_id,
            FetchRequest_v11: self._fetch,
            OffsetRequest_v3: self._offsets,
            OffsetsRequestStruct: self._offsets_with_epochs,
            EpochEndRequestStruct: self._epoch_ends,
        }

    def log(self, topic: str, partition: int) -> PartitionLog | None:
        """The log of the partition; None if it doesn't exist."""
        logs = self.topics.get(topic, [])
        return logs[partition] if 0 <= partition < len(logs) else None

    def wake_fetches(self) -> None:
        """Answer the fetches that wait for new records."""
        self._appended.set()
        self._appended = asyncio.Event()

    async def await_onlooker(self) -> None:
        """Wait until a client without a group asks for records."""
        self._onlooked.clear()
        await self._onlooked.wait()

    async def _producer_id(self, _request: Any, caller: Caller) -> Response:
        return InitProducerIdResponse_v0(0, caller.code(), next(self._producer_ids), 0)

    async def _produce(self, request: Any, caller: Caller) -> Response:
        topics = []
        for topic, partitions in request.topics:
            answers = [
                (number, *self._append(self.log(topic, number), data, caller))
                for number, data in partitions
            ]
            topics.append((topic, answers))
        self.wake_fetches()
        return ProduceResponse_v7(topics, 0)

    def _append(
        self, log: PartitionLog | None, data: bytes, caller: Caller
    ) -> tuple[int, int, int, int]:
        if log is None or caller.error is not None:
            return caller.code(UnknownTopicOrPartitionError), -1, -1, -1
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

    async def _fetch(self, request: Any, caller: Caller) -> Response:
        if request.max_wait_time <= FETCH_WAIT_MILLISECONDS:
            self._onlooked.set()
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
                    TopicPartition(topic, number), offset, min(budget, bytes_max), caller
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
        self, partition: TopicPartition, offset: int, bytes_max: int, caller: Caller
    ) -> tuple[Any, ...]:
        log = self.log(*partition)
        if log is None or caller.error is not None:
            return (
                partition.partition,
                caller.code(UnknownTopicOrPartitionError),
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
        # Nothing where other partitions have used up the budget; an empty answer gets the first
        # record, however large it is.
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

    async def _offsets(self, request: Any, caller: Caller) -> Response:
        committed_only = request.isolation_level == READ_COMMITTED
        topics = []
        for topic, partitions in request.topics:
            answers = []
            for number, at in partitions:
                error, time, offset = self._offset(log := self.log(topic, number), at, caller)
                if log is not None and at == OffsetResetStrategy.LATEST and committed_only:
                    offset = min(offset, log.stable_end)
                answers.append((number, error, time, offset))
            topics.append((topic, answers))
        return OffsetResponse_v3(0, topics)

    async def _offsets_with_epochs(self, request: Any, caller: Caller) -> Response:
        topics = []
        for topic, partitions in request.topics:
            answers = []
            for number, _, at in partitions:
                log = self.log(topic, number)
                code, timestamp, offset = self._offset(log, at, caller)
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

    async def _epoch_ends(self, request: Any, caller: Caller) -> Response:
        topics = []
        for topic, partitions in request.topics:
            answers = []
            for number, _, epoch in partitions:
                log = self.log(topic, number)
                if (
                    log is None
                    or caller.error is not None
                    or TopicPartition(topic, number) in self._faults.leaderless
                ):
                    answers.append((caller.code(NotLeaderForPartitionError), number, -1, -1))
                else:
                    answers.append((0, number, *log.epoch_end(epoch)))
            topics.append((topic, answers))
        return EpochEndResponse(0, topics)

    def _offset(self, log: PartitionLog | None, at: int, caller: Caller) -> tuple[int, int, int]:
        """Error code, time, offset."""
        if log is None or caller.error is not None:
            return caller.code(UnknownTopicOrPartitionError), -1, -1
        if TopicPartition(log.topic, log.partition) in self._faults.leaderless:
            return NotLeaderForPartitionError.errno, -1, -1
        if at == OffsetResetStrategy.LATEST:
            return 0, -1, log.end
        if at == OffsetResetStrategy.EARLIEST:
            return 0, -1, log.start
        offset, timestamp_ms = log.offset_at(at)
        return 0, timestamp_ms, offset

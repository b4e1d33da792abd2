"""Receiving of one partition: positions, epochs, revocations and damage."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import (
    CorruptRecordException,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import TopicPartition as ClientPartition

from tests.builders import FakeRecord, make_assignment
from worker.core.model.event import Event, OffsetsSkipped, Received
from worker.edges.kafka.consumer_health import PartitionHealth
from worker.edges.kafka.leader_epochs import HEADER
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.receiver import ChunkReceiver, PollOptions, Taken, client_partition

OURS = make_assignment(0)
PARTITION = client_partition(OURS)


class Client:
    """aiokafka's client of a consumer, whose sending is listened to."""

    async def send(self, *_: Any) -> None:
        """Nothing is asked here."""


class Consumer:
    """Has one partition with these records, and the errors that a fetch of it meets."""

    def __init__(self, *offsets: int) -> None:
        self._client = Client()
        self.offsets = list(offsets)
        self.error: Exception | None = None
        self.at = 0
        self.sought: list[int] = []

    async def position(self, partition: ClientPartition) -> int:
        return self.at

    def seek(self, partition: ClientPartition, offset: int) -> None:
        self.sought.append(offset)
        self.at = offset

    async def getmany(
        self, partition: ClientPartition, timeout_ms: int, max_records: int
    ) -> dict[ClientPartition, list[FakeRecord]]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        found = [FakeRecord(offset) for offset in self.offsets if offset >= self.at][:max_records]
        if found:
            self.at = found[-1].offset + 1
        return {partition: found} if found else {}

    async def getone(self, partition: ClientPartition) -> FakeRecord:
        raise CorruptRecordException("checksum")


class Receiving:
    """A receiver of one partition from offset 0 on, and its events."""

    def __init__(self, consumer: Consumer, *, skips_corrupt: bool = False) -> None:
        self.events: list[Event] = []
        self.rebalances = Rebalances(1.0, 1.0, self.events.append, lambda: None)
        self.rebalances.begin([OURS])
        self.health = PartitionHealth(8.0)
        self.receiver = ChunkReceiver(
            consumer,  # type: ignore[arg-type]
            self.rebalances,
            PollOptions(3, skips_corrupt=skips_corrupt, stall_seconds=8.0),
            self.health,
            self.events.append,
            self._drained,
        )
        self.receiver.begin({OURS: 0})
        self.health.begin([OURS])

    async def _drained(self) -> None:
        pass


def received(receiving: Receiving) -> list[tuple[list[int], int]]:
    return [
        ([record.offset for record in event.records], event.next_offset)
        for event in receiving.events
        if isinstance(event, Received)
    ]


def batch(offset: int, epoch: int) -> bytes:
    return HEADER.pack(offset, HEADER.size - 12, epoch, 2)


async def test_chunks_follow_each_other_and_gaps_are_passed() -> None:
    receiving = Receiving(Consumer(0, 1, 2, 5, 9))
    while await receiving.receiver.receive(OURS):
        pass
    assert received(receiving) == [([0, 1, 2], 3), ([5, 9], 10)]
    assert receiving.receiver.positions == {OURS: 10}


async def test_a_position_that_has_moved_is_set_back() -> None:
    consumer = Consumer(0, 1, 2)
    receiving = Receiving(consumer)
    consumer.at = 2
    await receiving.receiver.receive(OURS)
    assert consumer.sought == [0]
    assert received(receiving) == [([0, 1, 2], 3)]


async def test_what_comes_through_a_rebalance_is_not_received() -> None:
    receiving = Receiving(Consumer(0, 1))
    receiving.rebalances.end([OURS])
    assert not await receiving.receiver.receive(OURS)
    assert received(receiving) == []


async def test_a_later_epoch_is_not_believed_before_the_leader_has_confirmed_the_log() -> None:
    consumer = Consumer(0, 1, 2, 3)
    receiving = Receiving(consumer)
    receiver = receiving.receiver
    receiver._epochs.note(PARTITION, batch(0, 4) + batch(3, 5))
    assert await receiver.receive(OURS)
    assert not await receiver.receive(OURS)
    assert consumer.at == 3
    assert receiver.take_doubtful() == {OURS: Taken(3, 4)}
    assert receiver.take_doubtful() == {}
    receiver.trust(OURS, 5)
    assert await receiver.receive(OURS)
    assert received(receiving) == [([0, 1, 2], 3), ([3], 4)]


async def test_an_offset_out_of_range_is_examined_and_put_off_where_the_leader_has_it() -> None:
    consumer = Consumer()
    receiving = Receiving(consumer)
    consumer.error = OffsetOutOfRangeError()
    assert not await receiving.receiver.receive(OURS)
    assert receiving.receiver.take_doubtful() == {OURS: Taken(0, None)}
    receiving.receiver.trust(OURS, 1)
    assert receiving.health.errors == {OURS: "the leader refused an offset that it has"}


async def test_an_error_of_the_fetch_puts_the_partition_off_until_it_is_read() -> None:
    consumer = Consumer(0)
    receiving = Receiving(consumer)
    consumer.error = NotLeaderForPartitionError()
    assert not await receiving.receiver.receive(OURS)
    assert receiving.health.is_put_off(OURS)
    assert await receiving.receiver.receive(OURS)
    assert receiving.health.errors == {}


@pytest.mark.parametrize("skips_corrupt", [False, True])
async def test_damage_stops_the_partition_or_is_skipped_and_counted(skips_corrupt: bool) -> None:
    consumer = Consumer()
    receiving = Receiving(consumer, skips_corrupt=skips_corrupt)
    consumer.error = CorruptRecordException("checksum")
    # The first time it is only found, then read record by record.
    assert not await receiving.receiver.receive(OURS)
    assert receiving.events == []
    assert not await receiving.receiver.receive(OURS)
    if skips_corrupt:
        assert receiving.events == [OffsetsSkipped(OURS, 1), Received(OURS, (), 1)]
        assert consumer.at == 1
    else:
        assert receiving.events == []
        assert receiving.health.is_put_off(OURS)

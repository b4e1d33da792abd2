"""Receives chunks of one partition and hands them over in slices.

Checks that the records follow what was received before.

What aiokafka does when left alone would lose data here, so:
  - one partition per `getmany` call: over several, an error in one discards the records that were
    already drained from the others, while their positions have moved on;
  - the position is compared with the expected one before each call, and set back where they differ;
  - a damaged batch is read record by record: see `worker.edges.kafka.chunks`;
  - records of a later leader epoch are examined before they are believed: see
    `worker.edges.kafka.leader_epochs`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.event import Event, OffsetsSkipped, Received
from worker.core.model.record import Assignment, Record
from worker.edges.kafka.aiokafka_internals.consumer import show_batches
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.chunks import slices, take, take_up_to_the_damage
from worker.edges.kafka.consumer_health import PartitionHealth
from worker.edges.kafka.leader_epochs import FetchedEpochs
from worker.edges.kafka.rebalance_listener import Rebalances

logger = logging.getLogger("worker.kafka")

FETCHED_BYTES_MAX = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PollOptions:
    """How records are received.

    Attributes:
        records_max: per chunk.
        skips_corrupt: a record that can't be read is skipped and counted, instead of stopping its
            partition.
        stall_seconds: see `PartitionHealth`.
        fetched_bytes_max: what the client may hold that was fetched and not received yet, before
            decompression.
    """

    records_max: int
    skips_corrupt: bool
    stall_seconds: float
    fetched_bytes_max: int = FETCHED_BYTES_MAX


class Taken(NamedTuple):
    """What was taken of a partition: the offset behind it, and the leader epoch of its last batch.

    The epoch is None where it isn't known.
    """

    position: int
    epoch: int | None


class ChunkReceiver:
    """Receives for a consumer until that consumer is closed.

    Args:
        consumer: a started member of the group.
        rebalances: which of its partitions are ours.
        options: how much at once, and what to do with a record that can't be read.
        health: takes note of errors.
        post: takes `Received` and `OffsetsSkipped`.
        drained: waits until the posted events are handled, so that a pause takes effect before the
            next slice.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        rebalances: Rebalances,
        options: PollOptions,
        health: PartitionHealth,
        post: Callable[[Event], None],
        drained: Callable[[], Awaitable[None]],
    ) -> None:
        self._consumer = consumer
        self._rebalances = rebalances
        self._options = options
        self._health = health
        self._post = post
        self._drained = drained
        self._expected: dict[Assignment, int] = {}
        # Partitions whose log may not be the one that was read before.
        self._doubtful: set[Assignment] = set()
        self._out_of_range: set[Assignment] = set()
        self._epochs = FetchedEpochs()
        show_batches(consumer, self._epochs.note)
        # Partitions that are read record by record, because damage was found there.
        self._damaged: set[Assignment] = set()

    @property
    def positions(self) -> Mapping[Assignment, int]:
        """The next expected offset of each partition."""
        return self._expected

    def begin(self, positions: Mapping[Assignment, int]) -> None:
        """Receive records of these partitions too, from these offsets on.

        Partitions that are no longer ours are forgotten.
        """
        self._expected = {
            one: at for one, at in self._expected.items() if self._rebalances.may_receive(one)
        } | dict(positions)
        self._damaged &= self._expected.keys()
        for assignment in positions:
            self._epochs.begin(client_partition(assignment))

    async def receive(self, assignment: Assignment) -> bool:
        """Receive a chunk of what has been fetched of this partition; True if anything came."""
        partition = client_partition(assignment)
        expected = self._expected[assignment]
        if await self._consumer.position(partition) != expected:
            fields = {"partition": str(assignment), "offset": expected}
            logger.warning("position_set_back", extra=fields)
            self._consumer.seek(partition, expected)
        try:
            records = await self._take(assignment, partition)
        except OffsetOutOfRangeError:
            self._doubtful.add(assignment)
            self._out_of_range.add(assignment)
            return False
        except KafkaError as error:
            self._failed(assignment, error)
            return False
        position = await self._consumer.position(partition)
        if not self._rebalances.may_receive(assignment):
            # It came through a rebalance: no epoch of ours has asked for it, and the next epoch
            # starts where it must.
            return False
        if position != expected and self._epochs.is_later(
            partition, records[0].offset if records else position - 1
        ):
            # Before the leader has confirmed that the log before these records is whole, they can't
            # be trusted: they are fetched again.
            self._consumer.seek(partition, expected)
            self._doubtful.add(assignment)
            return False
        return await self.hand_over(assignment, records, position)

    async def hand_over(
        self, assignment: Assignment, records: Sequence[Record], position: int
    ) -> bool:
        """Post the records in slices, up to this position; True if there was anything new."""
        if position == self._expected[assignment]:
            return False
        self._health.note_read(assignment)
        for part, next_offset in slices(records, position):
            if not self._rebalances.may_receive(assignment):
                # Taken away meanwhile: its next owner receives the rest.
                break
            self._expected[assignment] = next_offset
            self._epochs.take(client_partition(assignment), next_offset)
            self._post(Received(assignment, part, next_offset))
            await self._drained()
        return True

    def take_doubtful(self) -> dict[Assignment, Taken]:
        """Return the partitions whose log may not be the one that was read before.

        Each is returned once: examine it, then call `trust` or give up the assignment.
        """
        doubtful = {
            one: Taken(self._expected[one], self._epochs.taken(client_partition(one)))
            for one in self._doubtful
            if self._rebalances.may_receive(one)
        }
        self._doubtful.clear()
        return doubtful

    def trust(self, assignment: Assignment, epoch: int | None) -> None:
        """Continue reading: the leader of this epoch confirms the log that was read."""
        if epoch is not None:
            self._epochs.trust(client_partition(assignment), epoch)
        if assignment in self._out_of_range:
            self.put_off(assignment, "the leader refused an offset that it has")
        self._out_of_range.discard(assignment)

    def skip_to(self, assignment: Assignment, offset: int, epoch: int | None) -> None:
        """Continue reading at this offset: the brokers have no record before it any more."""
        partition = client_partition(assignment)
        self._consumer.seek(partition, offset)
        self._post(OffsetsSkipped(assignment, offset - self._expected[assignment]))
        # And the position behind them, so that it is committed although no record follows.
        self._post(Received(assignment, (), offset))
        self._expected[assignment] = offset
        self._out_of_range.discard(assignment)
        self._epochs.begin(partition)
        self.trust(assignment, epoch)

    def put_off(self, assignment: Assignment, detail: str) -> None:
        """Receive of this partition again some time later: it can't be read at present."""
        self._health.note_error(assignment, self._expected[assignment], detail)

    async def _take(self, assignment: Assignment, partition: ClientPartition) -> Sequence[Record]:
        if assignment not in self._damaged:
            return await take(self._consumer, partition, self._options.records_max)
        chunk = await take_up_to_the_damage(self._consumer, partition, self._options.records_max)
        if chunk.is_whole:
            self._damaged.discard(assignment)
        return chunk.records

    def _failed(self, assignment: Assignment, error: KafkaError) -> None:
        offset = self._expected[assignment]
        if isinstance(error, CorruptRecordException) and assignment not in self._damaged:
            self._damaged.add(assignment)
            return
        if isinstance(error, CorruptRecordException) and self._options.skips_corrupt:
            # One offset at a time: nothing shows how far the damage reaches, and whole records
            # behind it must be read.
            self._expected[assignment] = offset + 1
            self._consumer.seek(client_partition(assignment), offset + 1)
            self._post(OffsetsSkipped(assignment, 1))
            # And the position behind it, or a restart would begin before it and count it again
            # until a whole record follows.
            self._post(Received(assignment, (), offset + 1))
            return
        self.put_off(assignment, text_of(error))


def client_partition(assignment: Assignment) -> ClientPartition:
    """Return the partition as aiokafka names it."""
    return ClientPartition(assignment.topic, assignment.partition)

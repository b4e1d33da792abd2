"""A consumer of the group, from its joining until it is unusable.

Which partitions begin, receiving, and logs that are no longer the ones that were read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.event import Assigned, Event, LogTruncated, Lost, OffsetsSkipped
from worker.core.model.record import Assignment, End, Position, Start, TopicPartition
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.consumer_health import PartitionHealth, Watchdog
from worker.edges.kafka.end_offsets import fetched_end
from worker.edges.kafka.leader_epochs import LogState, Resumption, resume
from worker.edges.kafka.membership import SourceOptions
from worker.edges.kafka.offset_lookup import LogBounds, Unavailable, look_up
from worker.edges.kafka.poller import WATCH_SECONDS, Poller
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.receiver import ChunkReceiver, Taken, client_partition
from worker.edges.kafka.start_offsets import Arrivals, StartOffset, StartOffsets

# One request of a look-up.
LOOK_UP_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every consumer of the process is given.

    Attributes:
        connection: the brokers.
        options: how to consume.
        post: takes the events.
        drained: waits until the posted events are handled.
        rebuild_windows: reads the tails of partitions before they begin.
        epochs: numbers the assignments of this process.
        is_stopped: True once nothing more may be received.
    """

    connection: KafkaConnection
    options: SourceOptions
    post: Callable[[Event], None]
    drained: Callable[[], Awaitable[None]]
    rebuild_windows: Callable[[Mapping[TopicPartition, StartOffset]], Awaitable[None]]
    epochs: Iterator[int]
    is_stopped: Callable[[], bool]


class Consumption:
    """Receives with one consumer.

    Args:
        consumer: has joined the group.
        rebalances: the consumer's own.
        surroundings: shared with the consumers before and after this one.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, rebalances: Rebalances, surroundings: Surroundings
    ) -> None:
        options, post, drained = surroundings.options, surroundings.post, surroundings.drained
        self.consumer = consumer
        self._rebalances = rebalances
        self._options = options
        self._post = post
        self._drained = drained
        self._epochs = surroundings.epochs
        self._is_stopped = surroundings.is_stopped
        self._paused: set[Assignment] = set()
        # Below these offsets every record is settled: the start of an epoch, then each commit.
        self._settled: dict[Assignment, int] = {}
        connection = surroundings.connection.capped(LOOK_UP_SECONDS_MAX)
        self._look_up = partial(look_up, connection)
        self._health = PartitionHealth(options.poll.stall_seconds)
        self._receiver = ChunkReceiver(
            consumer, rebalances, options.poll, self._health, post, drained
        )
        self._poller = Poller(
            consumer, rebalances, self._receiver, self._health, options.poll.fetched_bytes_max
        )
        starts = StartOffsets(
            connection, options.group_id, starts_at_latest=options.starts_at_latest
        )
        self._arrivals = Arrivals(rebalances, starts, surroundings.rebuild_windows, self.wake)
        self._watchdog = Watchdog(self._health, self._look_up)

    def pause(self, assignments: frozenset[Assignment]) -> None:
        """Stop polling these partitions."""
        self._paused |= assignments

    def resume(self, assignments: frozenset[Assignment]) -> None:
        """Resume polling of these partitions."""
        self._paused -= assignments
        self.wake()

    def note_committed(self, positions: Mapping[Assignment, Position]) -> None:
        """Note that the group has these positions."""
        self._settled |= {
            assignment: position.offset
            for assignment, position in positions.items()
            if assignment in self._settled
        }

    def wake(self) -> None:
        """Start the next round at once."""
        self._poller.wake()

    def fetched_end(self, assignment: Assignment) -> End | None:
        """Return the end of this partition by its last fetch; None where it isn't known."""
        partition = client_partition(assignment)
        if partition not in self.consumer.assignment():
            return None
        return fetched_end(self.consumer, partition)

    def partition_errors(self) -> dict[TopicPartition, str]:
        """Return the partitions that can't be read or can't begin now, each with the reason."""
        ours = {**self._watchdog.unavailable, **self._health.errors}
        return {
            **self._arrivals.unavailable,
            **{one.topic_partition: detail for one, detail in ours.items()},
        }

    async def receive(self, silence: asyncio.Task[str]) -> str:
        """Receive until this consumer is unusable; returns what shows it.

        Args:
            silence: ends when the group's coordinator is silent.
        """
        clock = asyncio.get_running_loop().time
        watch_at = clock()
        while True:
            if self._is_stopped():
                # Stay a member, silently: the last commit needs the membership.
                self._poller.rest()
                await asyncio.Event().wait()
            try:
                received = await self._round()
                # In a rhythm of its own: under a backlog each round receives something.
                if clock() >= watch_at:
                    watch_at = clock() + WATCH_SECONDS
                    self._poller.watch(self._paused)
                    if (failure := self._watchdog.advance()) is not None:
                        return failure
                    if silence.done():
                        return silence.result()
            except TimeoutError:
                return f"a rebalance has not ended for {self._options.rebalance_seconds_max:g} s"
            except IllegalStateError:
                # A partition went away between two calls; the rebalance listener posts it.
                await asyncio.sleep(0)
                continue
            if not received:
                await self._poller.wait()

    async def close(self) -> None:
        """End the look-ups under way."""
        await self._arrivals.close()
        await self._watchdog.close()

    async def _round(self) -> bool:
        """Let arrivals begin, receive, and examine doubtful logs; return whether records came.

        Raises:
            TimeoutError: a rebalance doesn't end.
        """
        if found := self._arrivals.advance():
            self._begin(found)
        # `check` waits through a rebalance, and aiokafka's may never end where the brokers that it
        # knows are gone for good.
        async with asyncio.timeout(self._options.rebalance_seconds_max):
            await self._poller.check()
        received = await self._poller.round(self._paused, self._is_stopped)
        if doubtful := self._receiver.take_doubtful():
            await self._examine(doubtful)
        return received

    def _begin(self, found: Mapping[TopicPartition, StartOffset]) -> None:
        """Give each of these partitions an epoch and a position, and post them."""
        starts = []
        for partition, at in found.items():
            self.consumer.seek(ClientPartition(*partition), at.position)
            assignment = Assignment(*partition, next(self._epochs))
            starts.append(Start(assignment, at.position, at.committed, at.end))
        self._rebalances.begin([start.assignment for start in starts])
        self._poller.begin({start.assignment: start.position for start in starts})
        ours = self._rebalances.ours
        self._settled = {one: at for one, at in self._settled.items() if one in ours} | {
            start.assignment: start.position for start in starts
        }
        for start in starts:
            # Until the first record comes: if the log is cut off before it does, this epoch shows
            # where.
            epoch = found[start.assignment.topic_partition].leader_epoch
            self._receiver.trust(start.assignment, epoch)
        self._paused &= self._rebalances.ours
        self._post(Assigned(tuple(starts)))
        for start in starts:
            if start.committed is not None and start.committed.offset > start.position:
                self._post(
                    LogTruncated(
                        start.assignment, start.committed.offset, start.position, is_exact=False
                    )
                )

    async def _examine(self, doubtful: Mapping[Assignment, Taken]) -> None:
        """Check that these logs are still those that were read.

        Where retention has removed the next records, reading continues behind them. A partition
        with another log goes on where it must, in a new epoch.
        """
        # The brokers may take their time: meanwhile nothing would bound what the client fetches
        # ahead.
        self._poller.rest()
        bounds = await self._bounds(doubtful)
        found: dict[TopicPartition, StartOffset] = {}
        for assignment, taken in doubtful.items():
            log = bounds[assignment.topic_partition]
            if isinstance(log, Unavailable):
                # It is polled again later, and is as doubtful then.
                self._receiver.put_off(assignment, log.reason)
            elif self._rebalances.may_receive(assignment):
                resumption = resume(*taken, log)
                match resumption.log:
                    case LogState.WHOLE:
                        self._receiver.trust(assignment, log.leader_epoch)
                    case LogState.SHORTENED:
                        # The same epoch: the records in memory are still to be delivered, and the
                        # brokers have them no more.
                        self._receiver.skip_to(assignment, resumption.position, log.leader_epoch)
                    case LogState.TRUNCATED | LogState.REPLACED:
                        start = self._end(assignment, taken, resumption)
                        found[assignment.topic_partition] = StartOffset(
                            start, None, None, log.leader_epoch
                        )
        if found:
            await self._drained()
            self._begin(found)

    async def _bounds(
        self, doubtful: Mapping[Assignment, Taken]
    ) -> Mapping[TopicPartition, LogBounds | Unavailable]:
        partitions: Collection[TopicPartition] = [one.topic_partition for one in doubtful]
        epochs = {
            one.topic_partition: taken.epoch
            for one, taken in doubtful.items()
            if taken.epoch is not None
        }
        try:
            return await self._look_up(partitions, epochs)
        except (KafkaError, OSError) as error:
            return dict.fromkeys(partitions, Unavailable(text_of(error)))

    def _end(self, assignment: Assignment, taken: Taken, resumption: Resumption) -> int:
        """End this epoch, and post why; returns where the next one starts.

        A log that lost its end still has the records before the cut. Those that aren't settled are
        given back with the epoch, so they are read again.
        """
        self._rebalances.end([assignment])
        self._post(Lost((assignment,)))
        if resumption.log is LogState.REPLACED:
            self._post(OffsetsSkipped(assignment, max(0, resumption.position - taken.position)))
            return resumption.position
        is_exact = taken.epoch is not None
        self._post(LogTruncated(assignment, taken.position, resumption.position, is_exact))
        return min(resumption.position, self._settled[assignment])

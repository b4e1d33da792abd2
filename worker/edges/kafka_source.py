"""Records from Kafka, and positions back to it.

What aiokafka does when left alone would lose data here, so:
  - one partition per `getmany` call: over several, an error in one discards what was already drained from the others, while
    their positions have moved on;
  - the position is compared with what is expected before each poll, and set back where they differ;
  - a paused partition is simply not polled: aiokafka's pause throws away what was fetched, and its flags vanish at rebalances;
  - `auto_offset_reset` is none: `latest` loses records, `earliest` hides that some were lost;
  - its poll-interval watch is out of reach: it leaves the group when every partition is paused for long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka_client import KafkaConnection
from worker.edges.rebalance import Rebalances
from worker.edges.start_position import Found, StartPositions
from worker.model.event import Assigned, CommitFailed, Committed, Event, Lost, OffsetsSkipped, Received
from worker.model.record import Assignment, Position, Record, Start, TopicPartition

logger = logging.getLogger("worker.kafka")

# aiokafka leaves the group when nobody polls for max_poll_interval. With every partition paused nobody does, by design.
POLL_INTERVAL_MILLISECONDS = 2**31 - 1
# aiokafka has no public way to wait for records of any partition that doesn't also take them.
IDLE_SECONDS = 0.02
TROUBLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to consume. Sizes in bytes before decompression."""

    topics: tuple[str, ...]
    group_id: str
    session_timeout_seconds: float
    heartbeat_interval_seconds: float
    rebalance_timeout_seconds: float
    drain_on_revoke_seconds: float
    commit_timeout_seconds: float
    poll_records_max: int
    partition_fetch_bytes_max: int
    fetch_bytes_max: int
    starts_at_latest: bool


class KafkaSource:
    """The group member of this process.

    Args:
        connection: the brokers.
        options: how to consume.
        post: takes the events: `Assigned`, `Received`, `Revoked`, `Lost`, `OffsetsSkipped`.
        drained: waits until the posted events are handled, so that a pause takes effect before the next poll.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        options: SourceOptions,
        post: Callable[[Event], None],
        drained: Callable[[], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._options = options
        self._post = post
        self._drained = drained
        self._epochs = count(1)
        self._consumer: AIOKafkaConsumer | None = None
        self._rebalances = Rebalances(options.drain_on_revoke_seconds, options.rebalance_timeout_seconds, post)
        self._expected: dict[Assignment, int] = {}
        self._paused: set[Assignment] = set()
        self._is_stopped = False

    @property
    def is_connected(self) -> bool:
        """True once the brokers have been reached."""
        return self._consumer is not None

    # --- what the runner asks for ----------------------------------------------------------------------------------------

    def pause(self, assignments: frozenset[Assignment]) -> None:
        """Don't poll these."""
        self._paused |= assignments

    def resume(self, assignments: frozenset[Assignment]) -> None:
        """Poll these again."""
        self._paused -= assignments

    def release(self, assignments: tuple[Assignment, ...]) -> None:
        """The rebalance may go on without these."""
        self._rebalances.release(assignments)

    def stop_intake(self) -> None:
        """Poll nothing any more. The membership stays, for the last commit."""
        self._is_stopped = True

    async def commit(self, positions: dict[Assignment, Position]) -> Committed | CommitFailed:
        """Commit these positions, within the time-out: at once, and if that gets no answer, partition by partition."""
        clock = asyncio.get_running_loop().time
        started, patience = clock(), self._options.commit_timeout_seconds
        mine = {assignment: at for assignment, at in positions.items() if self._rebalances.may_commit(assignment)}
        detail = await self._commit(mine, started + patience / 2)
        if detail is not None:
            faults = [await self._commit({assignment: at}, started + patience) for assignment, at in mine.items()]
            detail = next((fault for fault in faults if fault is not None), None if faults else detail)
        if detail is None and len(mine) < len(positions):
            detail = "partitions were taken away"
        if detail is None:
            return Committed(positions, clock() - started)
        return CommitFailed(positions, detail, clock() - started)

    async def _commit(self, positions: dict[Assignment, Position], deadline_seconds: float) -> str | None:
        """One commit; returns what went wrong, None if nothing did."""
        if self._consumer is None:
            return "not connected"
        offsets = {
            ClientPartition(assignment.topic, assignment.partition): OffsetAndMetadata(position.offset, position.metadata)
            for assignment, position in positions.items()
        }
        if not offsets:
            return "none of the partitions is ours any more"
        try:
            # aiokafka has no deadline of its own here: it would try for ever against a dead coordinator.
            async with asyncio.timeout_at(deadline_seconds):
                await self._consumer.commit(offsets)
        except TimeoutError:
            return "no answer in time"
        except KafkaError as error:
            return f"{type(error).__name__}: {error}"
        return None

    # --- the life of the member ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Join the group and poll, until cancelled. Waits for brokers that aren't there yet."""
        consumer = await self._connect()
        self._consumer = consumer
        while True:
            if self._is_stopped:
                # Stay a member, silently: the last commit needs the membership.
                await asyncio.Event().wait()
            try:
                if self._rebalances.arrivals:
                    await self._install(consumer)
                received = False
                for assignment in self._polled():
                    received |= await self._poll(consumer, assignment)
                if not received:
                    await asyncio.sleep(IDLE_SECONDS)
            except IllegalStateError:
                # A partition went away between two calls; the rebalance listener has the news.
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Leave the group and close the connections."""
        if self._consumer is not None:
            await self._consumer.stop()

    def end_offsets(self) -> dict[Assignment, int]:
        """The last known end of each partition of ours, as a consumer of committed transactions sees it."""
        if self._consumer is None:
            return {}
        ends: dict[Assignment, int] = {}
        for assignment in self._rebalances.ours:
            end = self._consumer.last_stable_offset(ClientPartition(assignment.topic, assignment.partition))
            if end is not None:
                ends[assignment] = end
        return ends

    async def _connect(self) -> AIOKafkaConsumer:
        wait_seconds = TROUBLE_SECONDS
        while True:
            consumer = self._new_consumer()
            consumer.subscribe(topics=list(self._options.topics), listener=self._rebalances)
            try:
                await consumer.start()
            except KafkaConnectionError as error:
                logger.warning("kafka_not_reached", extra={"detail": str(error), "retry_seconds": wait_seconds})
                await consumer.stop()
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, 30.0)
            else:
                return consumer

    def _new_consumer(self) -> AIOKafkaConsumer:
        options = self._options
        return self._connection.consumer(
            group_id=options.group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            # One assignor: two cost three rounds of JoinGroup.
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            session_timeout_ms=round(options.session_timeout_seconds * 1000),
            heartbeat_interval_ms=round(options.heartbeat_interval_seconds * 1000),
            rebalance_timeout_ms=round(options.rebalance_timeout_seconds * 1000),
            max_poll_interval_ms=POLL_INTERVAL_MILLISECONDS,
            max_partition_fetch_bytes=options.partition_fetch_bytes_max,
            fetch_max_bytes=options.fetch_bytes_max,
        )

    # --- polling ---------------------------------------------------------------------------------------------------------

    def _polled(self) -> list[Assignment]:
        polled = [assignment for assignment in self._expected if self._rebalances.may_receive(assignment)]
        return [assignment for assignment in polled if assignment not in self._paused]

    async def _install(self, consumer: AIOKafkaConsumer) -> None:
        """Give each partition that has arrived an epoch and a position, and say so."""
        partitions = self._rebalances.arrivals
        starts_at_latest = self._options.starts_at_latest
        starts = StartPositions(consumer, self._connection, self._options.group_id, starts_at_latest=starts_at_latest)
        try:
            found = await starts.find(partitions)
        except KafkaError as error:
            logger.warning("start_positions_not_found", extra={"detail": f"{type(error).__name__}: {error}"})
            await asyncio.sleep(TROUBLE_SECONDS)
            return
        if self._rebalances.arrivals != partitions:
            return
        self._begin(consumer, found)

    def _begin(self, consumer: AIOKafkaConsumer, found: dict[TopicPartition, Found]) -> None:
        self._expected = {
            assignment: at for assignment, at in self._expected.items() if self._rebalances.may_receive(assignment)
        }
        self._paused &= self._expected.keys()
        starts = []
        for partition, where in found.items():
            consumer.seek(ClientPartition(*partition), where.position)
            assignment = Assignment(*partition, next(self._epochs))
            self._expected[assignment] = where.position
            starts.append(Start(assignment, where.position, where.committed, where.end))
        self._rebalances.begin([start.assignment for start in starts])
        self._post(Assigned(tuple(starts)))

    async def _poll(self, consumer: AIOKafkaConsumer, assignment: Assignment) -> bool:
        """Receive one chunk of one partition. True if there was something."""
        # Handling the last chunk may have paused or revoked this one.
        if assignment in self._paused or not self._rebalances.may_receive(assignment) or self._is_stopped:
            return False
        partition = ClientPartition(assignment.topic, assignment.partition)
        expected = self._expected[assignment]
        if await consumer.position(partition) != expected:
            logger.warning("position_set_back", extra={"partition": str(assignment), "offset": expected})
            consumer.seek(partition, expected)
        try:
            fetched = await consumer.getmany(partition, timeout_ms=0, max_records=self._options.poll_records_max)
        except OffsetOutOfRangeError:
            await self._restart(consumer, assignment, expected)
            return False
        except KafkaError as error:
            fields = {"partition": str(assignment), "offset": expected, "detail": f"{type(error).__name__}: {error}"}
            logger.error("poll_failed", extra=fields)
            await asyncio.sleep(TROUBLE_SECONDS)
            return False
        position = await consumer.position(partition)
        if not self._rebalances.may_receive(assignment):
            # It came through a rebalance: no epoch of ours has asked for it, and the next one starts where it must.
            return False
        return await self._hand_over(assignment, fetched.get(partition, ()), position)

    async def _hand_over(self, assignment: Assignment, records: Sequence[Record], position: int) -> bool:
        if position == self._expected[assignment]:
            return False
        self._expected[assignment] = position
        self._post(Received(assignment, records, position))
        await self._drained()
        return True

    async def _restart(self, consumer: AIOKafkaConsumer, assignment: Assignment, expected: int) -> None:
        """The broker doesn't have the expected offset: an incident. Go on from the earliest one it has, in a new epoch."""
        partition = ClientPartition(assignment.topic, assignment.partition)
        earliest = (await consumer.beginning_offsets([partition]))[partition]
        self._rebalances.end([assignment])
        self._post(Lost((assignment,)))
        self._post(OffsetsSkipped(assignment, max(0, earliest - expected)))
        await self._drained()
        self._begin(consumer, {assignment.topic_partition: Found(earliest, None, None)})

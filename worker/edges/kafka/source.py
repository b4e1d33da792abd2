"""The group member of this process: joins, receives and commits.

It is replaced when aiokafka's consumer is unusable.

The consumer can be replaced at any time. Its tasks may die without notice, and after some answers
of the broker it fails for ever (aiokafka #847, #983, #1037, #1154): then its partitions are given
up without a commit, and another consumer joins. The deduplication window has the rows in flight, so
no row is sent twice because of that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import count

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from worker.core.model.event import CommitFailed, Committed, Event, Lost
from worker.core.model.record import Assignment, End, Position, TopicPartition
from worker.edges.kafka.aiokafka_internals.consumer import add_topics
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.commit import commit
from worker.edges.kafka.consumption import LOOK_UP_SECONDS_MAX, Consumption, Surroundings
from worker.edges.kafka.end_offsets import Ends, latest
from worker.edges.kafka.membership import Membership, SourceOptions, stop
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.start_offsets import StartOffset
from worker.edges.kafka.topics import Topics
from worker.edges.kafka.window_rebuild import WindowRebuild
from worker.edges.telemetry.event_loop import dump_tasks
from worker.errors import UnavailableError
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# With more new consumers than this in this many seconds, another consumer fixes nothing.
REBUILDS_MAX = 3
REBUILDS_SECONDS = 900.0


class KafkaSource:
    """Receives records and commits positions.

    Args:
        connection: the brokers.
        options: how to consume.
        post: takes the events: `Assigned`, `Received`, `Revoked`, `Lost`, `OffsetsSkipped`.
        drained: waits until the posted events are handled, so that a pause takes effect before the
            next poll.
        unix_time: reads the clock that dates records.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        options: SourceOptions,
        post: Callable[[Event], None],
        drained: Callable[[], Awaitable[None]],
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._post = post
        self._drained = drained
        self._windows = WindowRebuild(
            connection, options.tail, options.naming, post, drained, unix_time
        )
        self._settled_here: dict[TopicPartition, int] = {}
        self._topics = Topics(
            connection, options.topics, options.optional_topics, options.look_seconds
        )
        self._ends = Ends(connection.capped(LOOK_UP_SECONDS_MAX), self._partitions)
        self.membership = Membership(connection, options, self._topics)
        self._surroundings = Surroundings(
            connection,
            options,
            post,
            drained,
            self._rebuild_windows,
            count(1),
            lambda: self._is_stopped,
        )
        self._rebalances = self._new_rebalances()
        self._consumption: Consumption | None = None
        self._is_stopped = False
        self._rebuilt_at: deque[float] = deque(maxlen=REBUILDS_MAX)
        self.rebuilds = 0

    # --- for the runner ---------------------------------------------------------------------------

    def pause(self, assignments: frozenset[Assignment]) -> None:
        """Stop polling these partitions."""
        if self._consumption is not None:
            self._consumption.pause(assignments)

    def resume(self, assignments: frozenset[Assignment]) -> None:
        """Resume polling of these partitions."""
        if self._consumption is not None:
            self._consumption.resume(assignments)

    def release(self, assignments: tuple[Assignment, ...]) -> None:
        """Let the rebalance continue: these partitions are drained."""
        self._rebalances.release(assignments)

    def stop_intake(self) -> None:
        """Stop polling for good. The membership stays, for the last commit."""
        self._is_stopped = True
        self._wake()

    async def commit(self, positions: dict[Assignment, Position]) -> Committed | CommitFailed:
        """Commit these positions: see `commit`."""
        consumption = self._consumption
        consumer = consumption.consumer if consumption is not None else None
        result = await commit(
            consumer, self._rebalances, positions, self._options.commit_timeout_seconds
        )
        if isinstance(result, Committed):
            if consumption is not None:
                consumption.note_committed(positions)
            self._settled_here |= {
                assignment.topic_partition: position.offset
                for assignment, position in positions.items()
            }
        return result

    # --- for operators ----------------------------------------------------------------------------

    def ends(self) -> dict[Assignment, End]:
        """Return the end of each assigned partition, by its latest fetch or look-up."""
        ends: dict[Assignment, End] = {}
        now = time.time()
        for assignment in self._rebalances.ours:
            fetched = (
                self._consumption.fetched_end(assignment) if self._consumption is not None else None
            )
            asked = self._ends.known.get(assignment.topic_partition)
            end = latest((end for end in (fetched, asked) if end is not None), now)
            if end is not None:
                ends[assignment] = end
        return ends

    async def watch_ends(self) -> None:
        """Ask the brokers where partitions end, also of paused partitions. Until cancelled."""
        await self._ends.run()

    def partition_errors(self) -> dict[TopicPartition, str]:
        """Return the partitions that can't be read or can't begin now, each with the reason."""
        return self._consumption.partition_errors() if self._consumption is not None else {}

    # --- the life of the member -------------------------------------------------------------------

    async def run(self, diagnose: Callable[[str], None]) -> None:
        """Join the group and receive, until cancelled. Waits for brokers that aren't there yet.

        Args:
            diagnose: called with the reason before an unusable consumer is closed; writes what the
                worker is doing at that moment.

        Raises:
            UnavailableError: one consumer after the other was unusable.
        """
        while True:
            self._rebalances = self._new_rebalances()
            consumer = await self.membership.join(self._rebalances)
            consumption = Consumption(consumer, self._rebalances, self._surroundings)
            self._consumption = consumption
            silence = asyncio.create_task(
                self.membership.watch(), name="silence of the coordinator"
            )
            try:
                reason = await consumption.receive(silence)
            except KafkaError as error:
                reason = text_of(error)
            except asyncio.CancelledError:
                if not is_cancelled_from_within():
                    raise
                reason = "aiokafka cancelled the request"
            finally:
                await consumption.close()
                silence.cancel()
                await asyncio.wait([silence])
            diagnose(reason)
            await self._give_up(consumer, reason)

    async def watch_topics(self) -> None:
        """Look for missing topics, and read those that exist by now. Until cancelled.

        It is a separate task, so that slow brokers don't delay records, and records don't delay the
        search.
        """
        while True:
            await asyncio.sleep(self._options.look_seconds)
            await self._topics.find_missing()
            if self._consumption is None or self._is_stopped:
                continue
            # A topic that is gone stays subscribed: it may come back, and the list of a broker that
            # has just started may be incomplete.
            add_topics(self._consumption.consumer, self._topics.present)

    async def close(self) -> None:
        """Leave the group and close the connections, also those of a consumer that is joining."""
        await self.membership.close()

    def _partitions(self) -> frozenset[TopicPartition]:
        return frozenset(assignment.topic_partition for assignment in self._rebalances.ours)

    async def _rebuild_windows(self, found: Mapping[TopicPartition, StartOffset]) -> None:
        await self._windows.read(found, self._settled_here)

    def _stop_fetching(self) -> None:
        """Let the client fetch nothing while partitions are revoked or assigned.

        Until their positions are known, fetched records could only be thrown away.
        """
        consumer = self.membership.latest
        if consumer is not None:
            consumer.pause(*consumer.assignment())
        self._wake()

    def _wake(self) -> None:
        if self._consumption is not None:
            self._consumption.wake()

    async def _give_up(self, consumer: AIOKafkaConsumer, reason: str) -> None:
        """Replace this unusable consumer: its partitions are lost to us."""
        logger.error("consumer_rebuilt", extra={"reason": reason, "tasks": dump_tasks()})
        lost = tuple(self._rebalances.ours)
        self._rebalances.end(lost)
        self._consumption = None
        if lost:
            self._post(Lost(lost))
            await self._drained()
        await stop(consumer)
        self.rebuilds += 1
        now = asyncio.get_running_loop().time()
        if len(self._rebuilt_at) == REBUILDS_MAX and now - self._rebuilt_at[0] < REBUILDS_SECONDS:
            raise UnavailableError(
                f"the consumer had to be replaced more than {REBUILDS_MAX} times in "
                f"{REBUILDS_SECONDS / 60:g} minutes; "
                f"the last reason: {reason}. See the log for the errors of the brokers"
            )
        self._rebuilt_at.append(now)

    def _new_rebalances(self) -> Rebalances:
        return Rebalances(
            self._options.drain_on_revoke_seconds,
            self._options.rebalance_timeout_seconds,
            self._post,
            self._stop_fetching,
        )

"""The group member of this process: joins, receives, commits, and is made anew when aiokafka's
consumer is beyond help.

The consumer is disposable. Its tasks may die in silence, and some answers of the broker leave it
failing for ever (aiokafka #847, #983, #1037, #1154): then its partitions are given up without a
commit, and another one joins. What was under way is remembered by the deduplication window, so that
nothing is sent twice for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import count

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.event import (
    Assigned,
    CommitFailed,
    Committed,
    Event,
    LogTruncated,
    Lost,
    OffsetsSkipped,
)
from worker.core.model.record import Assignment, End, Position, Start, TopicPartition
from worker.edges.kafka.arrivals import Arrivals
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.commit import commit
from worker.edges.kafka.consumer import SourceOptions, stop
from worker.edges.kafka.end_offsets import Ends, fetched_end
from worker.edges.kafka.leader_epochs import Log, Resumption, resume
from worker.edges.kafka.membership import Membership
from worker.edges.kafka.offset_lookup import Bounds, Unavailable
from worker.edges.kafka.poller import WATCH_SECONDS, Poller, Taken
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.start_offsets import Found, StartPositions
from worker.edges.kafka.topics import Topics
from worker.edges.kafka.watchdog import Watchdog
from worker.edges.kafka.window_rebuild import WindowRebuild
from worker.edges.telemetry.task_dump import dump_tasks
from worker.errors import UnavailableError
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# One request of a look-up.
LOOK_UP_SECONDS_MAX = 5.0
# So many new consumers in so long, and the fault is nothing that another one would mend.
REBUILDS_MAX = 3
REBUILDS_SECONDS = 900.0


class KafkaSource:
    """Where records come from, and where positions are committed.

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
        self._epochs = count(1)
        self._starts = StartPositions(
            connection.capped(LOOK_UP_SECONDS_MAX),
            options.group_id,
            starts_at_latest=options.starts_at_latest,
        )
        self._tails = WindowRebuild(
            connection, options.tail, options.naming, post, drained, unix_time
        )
        self._settled_here: dict[TopicPartition, int] = {}
        self._topics = Topics(
            connection, options.topics, options.optional_topics, options.look_seconds
        )
        self._ends = Ends(connection.capped(LOOK_UP_SECONDS_MAX), self._partitions)
        self.membership = Membership(connection, options, self._topics)
        self._consumer: AIOKafkaConsumer | None = None
        self._rebalances = self._new_rebalances()
        self._poller: Poller | None = None
        self._arrivals: Arrivals | None = None
        self._watchdog: Watchdog | None = None
        self._paused: set[Assignment] = set()
        self._is_stopped = False
        self._rebuilt_at: deque[float] = deque(maxlen=REBUILDS_MAX)
        self.rebuilds = 0

    # --- what the runner asks for -----------------------------------------------------------------

    def pause(self, assignments: frozenset[Assignment]) -> None:
        """Don't poll these."""
        self._paused |= assignments

    def resume(self, assignments: frozenset[Assignment]) -> None:
        """Poll these again."""
        self._paused -= assignments
        self._wake()

    def release(self, assignments: tuple[Assignment, ...]) -> None:
        """The rebalance may go on without these."""
        self._rebalances.release(assignments)

    def stop_intake(self) -> None:
        """Poll nothing any more. The membership stays, for the last commit."""
        self._is_stopped = True
        self._wake()

    async def commit(self, positions: dict[Assignment, Position]) -> Committed | CommitFailed:
        """Commit these positions: see `commit`."""
        result = await commit(
            self._consumer, self._rebalances, positions, self._options.commit_timeout_seconds
        )
        if isinstance(result, Committed):
            self._settled_here |= {
                one.topic_partition: position.offset for one, position in positions.items()
            }
        return result

    # --- what operators ask for -------------------------------------------------------------------

    def ends(self) -> dict[Assignment, End]:
        """Where each partition of ours ends, as it was told last: with a fetch, or when it was
        asked for.
        """
        assigned = self._consumer.assignment() if self._consumer is not None else frozenset()
        ends: dict[Assignment, End] = {}
        for assignment in self._rebalances.ours:
            known: list[End | None] = []
            if (
                self._consumer is not None
                and ClientPartition(assignment.topic, assignment.partition) in assigned
            ):
                known.append(
                    fetched_end(
                        self._consumer, ClientPartition(assignment.topic, assignment.partition)
                    )
                )
            known.append(self._ends.known.get(assignment.topic_partition))
            told = [end for end in known if end is not None]
            if told:
                ends[assignment] = max(told, key=lambda end: end.unix_seconds)
        return ends

    async def watch_ends(self) -> None:
        """Ask the brokers where partitions end, whatever is paused. Until cancelled."""
        await self._ends.run()

    def partition_errors(self) -> dict[TopicPartition, str]:
        """The partitions that can't be read at present, and why; also those that have arrived and
        can't begin.
        """
        if self._arrivals is None or self._watchdog is None or self._poller is None:
            return {}
        ours = {**self._watchdog.unavailable, **self._poller.partition_errors()}
        return {
            **self._arrivals.unavailable,
            **{one.topic_partition: detail for one, detail in ours.items()},
        }

    # --- the life of the member -------------------------------------------------------------------

    async def run(self) -> None:
        """Join the group and receive, until cancelled. Waits for brokers that aren't there yet.

        Raises:
            UnavailableError: one consumer after the other was beyond help.
        """
        while True:
            self._rebalances = self._new_rebalances()
            consumer = await self.membership.join(self._rebalances)
            self._consumer = consumer
            self._poller = Poller(
                consumer, self._rebalances, self._options.poll, self._post, self._drained
            )
            self._arrivals = Arrivals(
                self._rebalances, self._starts, self._tails, self._settled_here, self._wake
            )
            self._watchdog = Watchdog(self._poller, self._starts)
            silence = asyncio.create_task(
                self.membership.watch(), name="silence of the coordinator"
            )
            try:
                reason = await self._receive(
                    consumer, self._poller, self._arrivals, self._watchdog, silence
                )
            except KafkaError as error:
                reason = f"{type(error).__name__}: {error}"
            except asyncio.CancelledError:
                if not is_cancelled_from_within():
                    raise
                reason = "aiokafka cancelled the request"
            finally:
                await self._arrivals.close()
                await self._watchdog.close()
                silence.cancel()
                await asyncio.wait([silence])
            await self._give_up(consumer, reason)

    async def watch_topics(self) -> None:
        """Look for topics that are missing, and read those that are there by now. Until cancelled.

        A task of its own: brokers that are slow to answer hold up no records, and records hold up
        no look.
        """
        while True:
            await asyncio.sleep(self._options.look_seconds)
            await self._topics.find_missing()
            consumer = self._consumer
            if (
                consumer is None
                or self._is_stopped
                or consumer.subscription() == frozenset(self._topics.present)
            ):
                continue
            consumer.subscribe(topics=self._topics.present, listener=self._rebalances)

    async def close(self) -> None:
        """Leave the group and close the connections, also those of a consumer that was only about
        to join.
        """
        await self.membership.close()

    def _partitions(self) -> frozenset[TopicPartition]:
        return frozenset(assignment.topic_partition for assignment in self._rebalances.ours)

    async def _receive(
        self,
        consumer: AIOKafkaConsumer,
        poller: Poller,
        arrivals: Arrivals,
        watchdog: Watchdog,
        silence: asyncio.Task[str],
    ) -> str:
        """Receive, until this consumer is beyond help; returns what shows it."""
        clock = asyncio.get_running_loop().time
        watch_at = clock()
        while True:
            if self._is_stopped:
                # Stay a member, silently: the last commit needs the membership.
                poller.rest()
                await asyncio.Event().wait()
            try:
                if found := arrivals.advance():
                    self._begin(consumer, poller, found)
                # Through a rebalance it waits, and aiokafka's may never end where the brokers that
                # it knows are gone for good.
                async with asyncio.timeout(self._options.rebalance_seconds_max):
                    await poller.check()
                received = await poller.round(self._paused, lambda: self._is_stopped)
                if doubtful := poller.take_doubtful():
                    await self._examine(consumer, poller, doubtful)
                # In a rhythm of its own: under a backlog each round receives something.
                if clock() >= watch_at:
                    watch_at = clock() + WATCH_SECONDS
                    poller.watch(self._paused)
                    if (failure := watchdog.advance()) is not None:
                        return failure
                    if silence.done():
                        return silence.result()
            except TimeoutError:
                return f"a rebalance has not ended for {self._options.rebalance_seconds_max:g} s"
            except IllegalStateError:
                # A partition went away between two calls; the rebalance listener has the news.
                await asyncio.sleep(0)
                continue
            if not received:
                await poller.wait()

    def _stop_fetching(self) -> None:
        """Partitions go or come: until their positions are known, what is fetched of them could
        only be thrown away.
        """
        consumer = self.membership.latest
        if consumer is not None:
            consumer.pause(*consumer.assignment())
        self._wake()

    def _wake(self) -> None:
        if self._poller is not None:
            self._poller.wake()

    async def _give_up(self, consumer: AIOKafkaConsumer, reason: str) -> None:
        """This consumer is beyond help: its partitions are lost to us, and the next one begins
        anew.
        """
        logger.error("consumer_rebuilt", extra={"reason": reason, "tasks": dump_tasks()})
        lost = tuple(self._rebalances.ours)
        self._rebalances.end(lost)
        self._consumer, self._poller, self._arrivals, self._watchdog = None, None, None, None
        self._paused.clear()
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

    # --- partitions that arrive -------------------------------------------------------------------

    def _begin(
        self, consumer: AIOKafkaConsumer, poller: Poller, found: Mapping[TopicPartition, Found]
    ) -> None:
        """Give each of these partitions an epoch and a position, and say so."""
        starts = []
        for partition, where in found.items():
            consumer.seek(ClientPartition(*partition), where.position)
            starts.append(
                Start(
                    Assignment(*partition, next(self._epochs)),
                    where.position,
                    where.committed,
                    where.end,
                )
            )
        self._rebalances.begin([start.assignment for start in starts])
        poller.begin({start.assignment: start.position for start in starts})
        for start in starts:
            # Until the first record comes: if the log is cut off before it does, this epoch tells
            # where.
            poller.trust(start.assignment, found[start.assignment.topic_partition].leader_epoch)
        self._paused &= self._rebalances.ours
        self._post(Assigned(tuple(starts)))
        for start in starts:
            if start.committed is not None and start.committed.offset > start.position:
                self._post(
                    LogTruncated(
                        start.assignment, start.committed.offset, start.position, is_exact=False
                    )
                )

    async def _examine(
        self, consumer: AIOKafkaConsumer, poller: Poller, doubtful: Mapping[Assignment, Taken]
    ) -> None:
        """See whether these logs are still the ones that were read.

        Where one isn't, go on where it must, in a new epoch.
        """
        epochs = {
            one.topic_partition: taken.epoch
            for one, taken in doubtful.items()
            if taken.epoch is not None
        }
        partitions = [one.topic_partition for one in doubtful]
        # The brokers may take their time: meanwhile nothing would hold back what the client fetches
        # ahead.
        poller.rest()
        bounds: Mapping[TopicPartition, Bounds | Unavailable]
        try:
            bounds = await self._starts.bounds(partitions, epochs)
        except (KafkaError, OSError) as error:
            bounds = dict.fromkeys(partitions, Unavailable(f"{type(error).__name__}: {error}"))
        found: dict[TopicPartition, Found] = {}
        for assignment, taken in doubtful.items():
            there = bounds[assignment.topic_partition]
            if isinstance(there, Unavailable):
                # It is polled again later, and is as doubtful then.
                poller.put_off(assignment, there.reason)
            elif self._rebalances.may_receive(assignment):
                resumption = resume(*taken, there)
                if resumption.log is Log.WHOLE:
                    poller.trust(assignment, there.leader_epoch)
                else:
                    self._lose(assignment, taken, resumption)
                    found[assignment.topic_partition] = Found(
                        resumption.position, None, None, there.leader_epoch
                    )
        if found:
            await self._drained()
            self._begin(consumer, poller, found)

    def _lose(self, assignment: Assignment, taken: Taken, resumption: Resumption) -> None:
        """Post that this epoch ends, and why."""
        self._rebalances.end([assignment])
        self._post(Lost((assignment,)))
        if resumption.log is Log.TRUNCATED:
            is_exact = taken.epoch is not None
            self._post(LogTruncated(assignment, taken.position, resumption.position, is_exact))
        else:
            self._post(OffsetsSkipped(assignment, max(0, resumption.position - taken.position)))

"""Receives chunks of the partitions that are ours, one partition per call, and sees when that
doesn't work.

What aiokafka does when left alone would lose data here, so:
  - one partition per `getmany` call: over several, an error in one discards what was already
    drained from the others, while their positions have moved on;
  - the position is compared with what is expected before each poll, and set back where they differ;
  - a paused partition is simply not polled: aiokafka's pause throws away what was fetched, and its
    flags vanish at rebalances;
  - what it can't decode isn't always an error of its own kind, and would end the process at each
    restart;
  - a partition that can't be read waits on its own, and the others go on;
  - only what has been fetched is asked for: to wait for one partition would be to wait for it with
    all others;
  - its fetch task may die in silence (aiokafka #983, #1037), and then `getmany` returns nothing for
    ever: noticed by the age of the last fetch, see `worker.edges.kafka.watchdog`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.event import Event, OffsetsSkipped, Received
from worker.core.model.record import Assignment, Record
from worker.edges.kafka.aiokafka_internals import show_batches
from worker.edges.kafka.chunks import slices, take, take_up_to_the_damage
from worker.edges.kafka.fetch_budget import FetchBudget
from worker.edges.kafka.fetched import Fetched
from worker.edges.kafka.leader_epochs import FetchedEpochs
from worker.edges.kafka.partition_errors import PartitionErrors
from worker.edges.kafka.rebalance_listener import Rebalances

logger = logging.getLogger("worker.kafka")

# How long a round goes on before what else has happened is looked at: new partitions, lost offsets,
# a stop.
ROUND_SECONDS = 0.1
# How often what has no event of its own is looked at, where nothing else happens.
WATCH_SECONDS = 1.0
# A call of `getmany` with this partition takes no records, and shows whether the consumer is well.
FETCHED_BYTES_MAX = 32 * 1024 * 1024
NOWHERE = ClientPartition("", 0)


@dataclass(frozen=True, slots=True)
class PollOptions:
    """`records_max` per chunk; `skips_corrupt`: what can't be read is passed over and counted,
    instead of stopping there.

    `fetched_bytes_max`: what the client may hold that was fetched and not received yet, before
    decompression.
    """

    records_max: int
    skips_corrupt: bool
    stall_seconds: float
    fetched_bytes_max: int = FETCHED_BYTES_MAX


@dataclass(frozen=True, slots=True)
class _Quiet:
    """A partition of which nothing comes: the mark of its last fetch, and since when that has been
    the last.
    """

    mark: int | None
    since: float


class Taken(NamedTuple):
    """What was taken of a partition: the offset behind it, and the leader epoch of its last batch
    (None: not known).
    """

    position: int
    epoch: int | None


class Poller:
    """Polls for one consumer, for as long as that one lives.

    Args:
        consumer: a started member of the group.
        rebalances: what of its partitions is ours.
        options: how much at once, and what to do with what can't be read.
        post: takes `Received` and `OffsetsSkipped`.
        drained: waits until the posted events are handled, so that a pause takes effect before the
            next poll.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        rebalances: Rebalances,
        options: PollOptions,
        post: Callable[[Event], None],
        drained: Callable[[], Awaitable[None]],
    ) -> None:
        self._consumer = consumer
        self._rebalances = rebalances
        self._options = options
        self._post = post
        self._drained = drained
        self._expected: dict[Assignment, int] = {}
        self._partition_errors = PartitionErrors()
        self._quiet: dict[Assignment, _Quiet] = {}
        self._polled: set[Assignment] = set()
        # Partitions whose log may not be the one that was read before.
        self._doubtful: set[Assignment] = set()
        self._out_of_range: set[Assignment] = set()
        self._epochs = FetchedEpochs()
        show_batches(consumer, self._epochs.note)
        # Read record by record, as damage has been seen there.
        self._damaged: set[Assignment] = set()
        self._fetched = Fetched(consumer)
        self._budget = FetchBudget(consumer, self._fetched, options.fetched_bytes_max)
        self._at: dict[ClientPartition, Assignment] = {}
        # The one whose fetch has been received in part: a batch of it is expanded.
        self._half_read: ClientPartition | None = None

    def begin(self, positions: dict[Assignment, int]) -> None:
        """These partitions are received of from these offsets on.

        What is no longer ours is forgotten.
        """
        self._expected = {
            one: at for one, at in self._expected.items() if self._rebalances.may_receive(one)
        } | positions
        self._at = {ClientPartition(one.topic, one.partition): one for one in self._expected}
        self._damaged &= self._expected.keys()
        for assignment in positions:
            self._epochs.begin(_client(assignment))
        self._half_read = self._half_read if self._half_read in self._at else None
        self._budget.begin(self._at.keys())
        self._partition_errors.keep(self._expected.keys())
        self._quiet = {one: quiet for one, quiet in self._quiet.items() if one in self._expected}

    def partition_errors(self) -> Mapping[Assignment, str]:
        """The partitions that can't be read at present, and what was said of each."""
        return self._partition_errors.details

    def take_doubtful(self) -> dict[Assignment, Taken]:
        """The partitions whose log may not be the one that was read before.

        Told once; see `trust`.
        """
        doubtful = {
            one: self._taken(one) for one in self._doubtful if self._rebalances.may_receive(one)
        }
        self._doubtful.clear()
        return doubtful

    def trust(self, assignment: Assignment, epoch: int | None) -> None:
        """The log holds what was read of it, as its leader of this epoch says. Reading goes on."""
        if epoch is not None:
            self._epochs.trust(_client(assignment), epoch)
        if assignment in self._out_of_range:
            self.put_off(assignment, "the leader refused an offset that it has")
        self._out_of_range.discard(assignment)

    def _taken(self, assignment: Assignment) -> Taken:
        return Taken(self._expected[assignment], self._epochs.taken(_client(assignment)))

    def wake(self) -> None:
        """Something has happened that a round may care for: `wait` returns."""
        self._fetched.news.set()

    async def wait(self) -> None:
        """Until something may be ready, or it is time to look at what has no event of its own."""
        # A partition whose time has come and of which nothing is fetched yet is news once something
        # is.
        watch_at, retry_at = _now() + WATCH_SECONDS, self._partition_errors.next_retry()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(
                watch_at if retry_at is None else min(watch_at, retry_at)
            ):
                await self._fetched.news.wait()

    async def check(self) -> None:
        """Raise what the group's coordinator has met; wait for the end of a rebalance. Called
        before each round.

        Also with nothing ready, and without partitions: a member that polls nothing is never let
        back into the group once it has been out (aiokafka #1187).
        """
        await self._consumer.getmany(NOWHERE, timeout_ms=0)

    async def round(self, paused: Collection[Assignment], is_stopped: Callable[[], bool]) -> bool:
        """Receive what is ready of the partitions that aren't paused, the longest waiting first.
        True if anything came.

        One partition after the other is emptied, so that no more than one record batch is expanded
        at a time.
        """
        self._fetched.news.clear()
        received = False
        deadline = _now() + ROUND_SECONDS
        for partition in sorted(self._fetched.ready(), key=lambda one: one != self._half_read):
            assignment = self._at.get(partition)
            # Handling the chunk before may have paused or revoked this one.
            while (
                assignment is not None
                and self._is_due(assignment, paused)
                and not is_stopped()
                and _now() < deadline
            ):
                received |= await self._poll(assignment, partition)
                self._half_read = partition if self._fetched.holds(partition) else None
            if _now() >= deadline:
                break
            if partition == self._half_read:
                self._throw_away_half_read()
        self._balance(paused)
        return received

    def _throw_away_half_read(self) -> None:
        """Of what rests no batch stays expanded: it is fetched again."""
        if self._half_read is not None:
            assignment = self._at[self._half_read]
            if self._rebalances.may_receive(assignment):
                self._consumer.seek(self._half_read, self._expected[assignment])
            self._half_read = None

    def rest(self) -> None:
        """Until the next round nothing is received: the client is to fetch nothing more."""
        self._budget.rest(
            [
                one
                for one, assignment in self._at.items()
                if self._rebalances.may_receive(assignment)
            ]
        )

    def _balance(self, paused: Collection[Assignment]) -> None:
        """Keep what the client has fetched within its bound."""
        ours = {
            one: assignment
            for one, assignment in self._at.items()
            if self._rebalances.may_receive(assignment)
        }
        resting = {
            one
            for one, assignment in ours.items()
            if assignment in paused or self._partition_errors.is_put_off(assignment)
        }
        self._budget.balance(
            {one: self._expected[assignment] for one, assignment in ours.items()}, resting
        )

    def _is_due(self, assignment: Assignment, paused: Collection[Assignment]) -> bool:
        if (
            assignment in paused
            or not self._rebalances.may_receive(assignment)
            or self._partition_errors.is_put_off(assignment)
        ):
            return False
        return self._fetched.holds(_client(assignment))

    def watch(self, paused: Collection[Assignment]) -> None:
        """See which partitions nothing comes of. In a rhythm of its own: a partition may be silent
        while others have plenty.

        A healthy consumer goes on fetching, and each answer, an empty one too, has a new mark.
        """
        self._polled = {
            assignment
            for partition, assignment in self._at.items()
            if assignment not in paused
            and self._rebalances.may_receive(assignment)
            and not self._budget.puts_off(partition)
        }
        for partition, assignment in self._at.items():
            if assignment not in self._polled or self._fetched.holds(partition):
                self._quiet.pop(assignment, None)
                continue
            mark = self._consumer.last_poll_timestamp(partition)
            quiet = self._quiet.get(assignment)
            if quiet is None or quiet.mark != mark:
                self._quiet[assignment] = _Quiet(mark, _now())

    @property
    def stall_seconds(self) -> float:
        """How long nothing may be fetched of a partition before it counts as silent."""
        return self._options.stall_seconds

    @property
    def polled(self) -> frozenset[Assignment]:
        """The partitions that are ours, not paused and not in trouble: a healthy consumer goes on
        fetching of these.
        """
        return frozenset(self._polled - self._partition_errors.details.keys())

    def silent(self) -> frozenset[Assignment]:
        """The partitions of which nothing has been fetched for `stall_seconds`, not even an empty
        answer.
        """
        now = _now()
        return frozenset(
            one
            for one, quiet in self._quiet.items()
            if now - quiet.since > self._options.stall_seconds
        )

    def failure(self) -> str | None:
        """What shows that this consumer is beyond help: it gives an error whatever it is asked for.
        None while it doesn't.
        """
        patience = self._options.stall_seconds
        detail = self._partition_errors.of_all(len(self._expected), patience)
        return (
            f"every partition has failed for {patience:g} s: {detail}"
            if detail is not None
            else None
        )

    async def _poll(self, assignment: Assignment, partition: ClientPartition) -> bool:
        expected = self._expected[assignment]
        if await self._consumer.position(partition) != expected:
            logger.warning(
                "position_set_back", extra={"partition": str(assignment), "offset": expected}
            )
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
            # It came through a rebalance: no epoch of ours has asked for it, and the next one
            # starts where it must.
            return False
        if position != expected and self._epochs.is_later(
            partition, records[0].offset if records else position - 1
        ):
            # Nothing of it is believed before the leader has said that the log before it is whole:
            # it is fetched again.
            self._consumer.seek(partition, expected)
            self._doubtful.add(assignment)
            return False
        return await self._hand_over(assignment, records, position)

    async def _take(self, assignment: Assignment, partition: ClientPartition) -> Sequence[Record]:
        if assignment not in self._damaged:
            return await take(self._consumer, partition, self._options.records_max)
        chunk = await take_up_to_the_damage(self._consumer, partition, self._options.records_max)
        if chunk.is_whole:
            self._damaged.discard(assignment)
        return chunk.records

    async def _hand_over(
        self, assignment: Assignment, records: Sequence[Record], position: int
    ) -> bool:
        if position == self._expected[assignment]:
            return False
        self._partition_errors.end(assignment)
        self._quiet.pop(assignment, None)
        for part, next_offset in slices(records, position):
            if not self._rebalances.may_receive(assignment):
                # Taken away meanwhile: its next owner receives the rest.
                break
            self._expected[assignment] = next_offset
            self._epochs.take(_client(assignment), next_offset)
            self._post(Received(assignment, part, next_offset))
            await self._drained()
        return True

    def _failed(self, assignment: Assignment, error: KafkaError) -> None:
        offset = self._expected[assignment]
        if isinstance(error, CorruptRecordException) and assignment not in self._damaged:
            self._damaged.add(assignment)
            return
        if isinstance(error, CorruptRecordException) and self._options.skips_corrupt:
            # One offset at a time: nothing tells how far the damage reaches, and what is whole
            # behind it must be read.
            self._expected[assignment] = offset + 1
            self._consumer.seek(_client(assignment), offset + 1)
            self._post(OffsetsSkipped(assignment, 1))
            # And the position behind it, or a restart would begin before it and count it again
            # until a whole record follows.
            self._post(Received(assignment, (), offset + 1))
            return
        self.put_off(assignment, f"{type(error).__name__}: {error}")

    def put_off(self, assignment: Assignment, detail: str) -> None:
        """This one can't be read at present: it is polled again some time later."""
        self._partition_errors.note(assignment, self._expected[assignment], detail)


def _client(assignment: Assignment) -> ClientPartition:
    return ClientPartition(assignment.topic, assignment.partition)


def _now() -> float:
    return asyncio.get_running_loop().time()

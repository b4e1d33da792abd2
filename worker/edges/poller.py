"""Receives chunks of the partitions that are ours, one partition per call, and sees when that doesn't work.

What aiokafka does when left alone would lose data here, so:
  - one partition per `getmany` call: over several, an error in one discards what was already drained from the others, while
    their positions have moved on;
  - the position is compared with what is expected before each poll, and set back where they differ;
  - a paused partition is simply not polled: aiokafka's pause throws away what was fetched, and its flags vanish at rebalances;
  - what it can't decode isn't always an error of its own kind, and would end the process at each restart;
  - a partition that can't be read waits on its own, and the others go on;
  - only what has been fetched is asked for: to wait for one partition would be to wait for it with all others;
  - its fetch task may die in silence (aiokafka #983, #1037), and then `getmany` returns nothing for ever: noticed by the age of
    the last fetch, see `worker.edges.watchdog`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.fetched import Fetched
from worker.edges.leader_epochs import FetchedEpochs
from worker.edges.overrides import show_batches
from worker.edges.rebalance import Rebalances
from worker.model.event import Event, OffsetsSkipped, Received
from worker.model.record import Assignment, Record

logger = logging.getLogger("worker.kafka")

TROUBLE_SECONDS_FIRST = 1.0
TROUBLE_SECONDS_MAX = 30.0
# How long a round goes on before what else has happened is looked at: new partitions, lost offsets, a stop.
ROUND_SECONDS = 0.5
# How often what has no event of its own is looked at, where nothing else happens.
WATCH_SECONDS = 1.0
# A call of `getmany` with this partition takes no records, and shows whether the consumer is well.
NOWHERE = ClientPartition("", 0)
# What is handled without a pause. A thousand records of 60 KB, which a batch of 1 MB can hold, take most of a second to decode.
SLICE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PollOptions:
    """`records_max` per chunk; `skips_corrupt`: what can't be read is passed over and counted, instead of stopping there."""

    records_max: int
    skips_corrupt: bool
    stall_seconds: float


@dataclass(frozen=True, slots=True)
class _Quiet:
    """A partition of which nothing comes: the mark of its last fetch, and since when that has been the last."""

    mark: int | None
    since: float


@dataclass(slots=True)
class _Trouble:
    """A partition that can't be read: what was said, since when, and when it is tried again."""

    detail: str
    since: float
    retry_at: float
    wait_seconds: float


class Taken(NamedTuple):
    """What was taken of a partition: the offset behind it, and the leader epoch of its last batch (None: not known)."""

    position: int
    epoch: int | None


class Poller:
    """Polls for one consumer, for as long as that one lives.

    Args:
        consumer: a started member of the group.
        rebalances: what of its partitions is ours.
        options: how much at once, and what to do with what can't be read.
        post: takes `Received` and `OffsetsSkipped`.
        drained: waits until the posted events are handled, so that a pause takes effect before the next poll.
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
        self._troubles: dict[Assignment, _Trouble] = {}
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
        self._at: dict[ClientPartition, Assignment] = {}

    def begin(self, positions: dict[Assignment, int]) -> None:
        """These partitions are received of from these offsets on. What is no longer ours is forgotten."""
        self._expected = {one: at for one, at in self._expected.items() if self._rebalances.may_receive(one)} | positions
        self._at = {ClientPartition(one.topic, one.partition): one for one in self._expected}
        self._damaged &= self._expected.keys()
        for assignment in positions:
            self._epochs.begin(_client(assignment))
        for known in (self._troubles, self._quiet):
            for assignment in known.keys() - self._expected.keys():
                del known[assignment]

    def troubles(self) -> dict[Assignment, str]:
        """The partitions that can't be read at present, and what was said of each."""
        return {assignment: trouble.detail for assignment, trouble in self._troubles.items()}

    def take_doubtful(self) -> dict[Assignment, Taken]:
        """The partitions whose log may not be the one that was read before. Told once; see `trust`."""
        doubtful = {one: self._taken(one) for one in self._doubtful if self._rebalances.may_receive(one)}
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
        now = _now()
        # A partition whose time has come and of which nothing is fetched yet is news once something is.
        retries = [trouble.retry_at for trouble in self._troubles.values() if trouble.retry_at > now]
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min([now + WATCH_SECONDS, *retries])):
                await self._fetched.news.wait()

    async def round(self, paused: Collection[Assignment], is_stopped: Callable[[], bool]) -> bool:
        """Receive what is ready of the partitions that aren't paused, the longest waiting first. True if anything came.

        One partition after the other is emptied, so that no more than one record batch is expanded at a time.
        """
        self._fetched.news.clear()
        # Also with nothing ready: it shows a coordinator in trouble, and a member that polls nothing is never let back into the
        # group once it has been out (aiokafka #1187).
        await self._consumer.getmany(NOWHERE, timeout_ms=0)
        received = False
        deadline = _now() + ROUND_SECONDS
        for partition in self._fetched.ready():
            assignment = self._at.get(partition)
            # Handling the chunk before may have paused or revoked this one.
            while assignment is not None and self._is_due(assignment, paused) and not is_stopped():
                received |= await self._poll(assignment, partition)
                if _now() >= deadline:
                    return received
        return received

    def _is_due(self, assignment: Assignment, paused: Collection[Assignment]) -> bool:
        if assignment in paused or not self._rebalances.may_receive(assignment):
            return False
        trouble = self._troubles.get(assignment)
        return (trouble is None or trouble.retry_at <= _now()) and self._fetched.holds(_client(assignment))

    def watch(self, paused: Collection[Assignment]) -> None:
        """See which partitions nothing comes of. In a rhythm of its own: a partition may be silent while others have plenty.

        A healthy consumer goes on fetching, and each answer, an empty one too, has a new mark.
        """
        self._polled = {one for one in self._expected if one not in paused and self._rebalances.may_receive(one)}
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
        """The partitions that are ours, not paused and not in trouble: a healthy consumer goes on fetching of these."""
        return frozenset(self._polled - self._troubles.keys())

    def silent(self) -> frozenset[Assignment]:
        """The partitions of which nothing has been fetched for `stall_seconds`, not even an empty answer."""
        now = _now()
        return frozenset(one for one, quiet in self._quiet.items() if now - quiet.since > self._options.stall_seconds)

    def failure(self) -> str | None:
        """What shows that this consumer is beyond help: it gives an error whatever it is asked for. None while it doesn't."""
        patience = self._options.stall_seconds
        failing = [one for one in self._troubles.values() if not one.detail.startswith(CorruptRecordException.__name__)]
        if failing and len(failing) == len(self._expected) and min(_now() - one.since for one in failing) > patience:
            return f"every partition has failed for {patience:g} s: {failing[0].detail}"
        return None

    async def _poll(self, assignment: Assignment, partition: ClientPartition) -> bool:
        expected = self._expected[assignment]
        if await self._consumer.position(partition) != expected:
            logger.warning("position_set_back", extra={"partition": str(assignment), "offset": expected})
            self._consumer.seek(partition, expected)
        try:
            if assignment in self._damaged:
                records = await self._up_to_the_damage(assignment, partition)
            else:
                with _undecodable_is_damaged():
                    fetched = await self._consumer.getmany(partition, timeout_ms=0, max_records=self._options.records_max)
                records = fetched.get(partition, ())
        except OffsetOutOfRangeError:
            self._doubtful.add(assignment)
            self._out_of_range.add(assignment)
            return False
        except KafkaError as error:
            self._failed(assignment, error)
            return False
        position = await self._consumer.position(partition)
        if not self._rebalances.may_receive(assignment):
            # It came through a rebalance: no epoch of ours has asked for it, and the next one starts where it must.
            return False
        if position != expected and self._epochs.is_later(partition, records[0].offset if records else position - 1):
            # Nothing of it is believed before the leader has said that the log before it is whole: it is fetched again.
            self._consumer.seek(partition, expected)
            self._doubtful.add(assignment)
            return False
        return await self._hand_over(assignment, records, position)

    async def _up_to_the_damage(self, assignment: Assignment, partition: ClientPartition) -> Sequence[Record]:
        """Whole records that stand before damaged ones: `getmany` drops them with these, `getone` stops exactly there.

        What has been fetched is taken and nothing waited for. With all of it read and no damage met the partition counts as
        whole again.

        Raises:
            CorruptRecordException: the very next record is damaged.
        """
        records: list[Record] = []
        while len(records) < self._options.records_max:
            try:
                # No time at all: `getone` suspends only where it would have to wait for a fetch.
                async with asyncio.timeout(0):
                    with _undecodable_is_damaged():
                        records.append(await self._consumer.getone(partition))
            except TimeoutError:
                if records:
                    self._damaged.discard(assignment)
                break
            except CorruptRecordException:
                if not records:
                    raise
                break
        return records

    async def _hand_over(self, assignment: Assignment, records: Sequence[Record], position: int) -> bool:
        if position == self._expected[assignment]:
            return False
        self._troubles.pop(assignment, None)
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
            # One offset at a time: nothing tells how far the damage reaches, and what is whole behind it must be read.
            self._expected[assignment] = offset + 1
            self._consumer.seek(_client(assignment), offset + 1)
            self._post(OffsetsSkipped(assignment, 1))
            # And the position behind it, or a restart would begin before it and count it again until a whole record follows.
            self._post(Received(assignment, (), offset + 1))
            return
        self.put_off(assignment, f"{type(error).__name__}: {error}")

    def put_off(self, assignment: Assignment, detail: str) -> None:
        """This one can't be read at present: it is polled again some time later."""
        before = self._troubles.get(assignment)
        wait = min(before.wait_seconds * 2, TROUBLE_SECONDS_MAX) if before is not None else TROUBLE_SECONDS_FIRST
        since = before.since if before is not None else _now()
        self._troubles[assignment] = _Trouble(detail, since, _now() + wait, wait)
        fields = {"partition": str(assignment), "offset": self._expected[assignment], "detail": detail}
        logger.error("poll_failed", extra=fields)


def slices(records: Sequence[Record], position: int) -> Iterator[tuple[Sequence[Record], int]]:
    """The records in parts of about `SLICE_BYTES` at most, each with the position after it; always at least one part."""
    sizes = [len(record.value or b"") + len(record.key or b"") for record in records]
    if sum(sizes) <= SLICE_BYTES:
        yield records, position
        return
    start = held = 0
    for index, size in enumerate(sizes):
        if index > start and held + size > SLICE_BYTES:
            yield records[start:index], records[index - 1].offset + 1
            start, held = index, 0
        held += size
    yield records[start:], position


@contextmanager
def _undecodable_is_damaged() -> Iterator[None]:
    """A header's name is UTF-8 by Kafka's protocol, but brokers don't look, and aiokafka fails where it isn't."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise CorruptRecordException(f"a header's name is not UTF-8 at byte {error.start}") from None


def _client(assignment: Assignment) -> ClientPartition:
    return ClientPartition(assignment.topic, assignment.partition)


def _now() -> float:
    return asyncio.get_running_loop().time()

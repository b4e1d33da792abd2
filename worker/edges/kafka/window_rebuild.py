"""Rebuilds the deduplication windows of newly assigned partitions.

Reads again the records that an earlier owner has settled, so that a repetition of their events is
recognised. It reads the tail of the partition up to its committed position, and the dead-letter and
parking topics: the records that these topics name were refused or are parked, and must not count as
delivered.

The tails are read without a group and under a deadline. Records that can't be read in time only
cost duplicates. The newest records of every partition come first, because most repetitions follow
soon; and while there is time, connections that fail or are silent are replaced by new ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from aiokafka.errors import KafkaError, KafkaTimeoutError

from worker.core.model.event import Event, TailRead
from worker.core.model.record import NO_EPOCH, Assignment, Start, TopicPartition
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.reader import Span, TopicReader
from worker.edges.kafka.start_offsets import StartOffset
from worker.edges.kafka.undelivered import TooMuchError, UndeliveredRecords, read_undelivered

logger = logging.getLogger("worker.kafka")

# This many records of each partition are read before any older record of another partition.
NEWEST_RECORDS = 5_000
# The largest shares of the time for a request, and for a chunk, which can need a second request.
REQUEST_SHARE, CHUNK_SHARE = 0.15, 0.35
REQUEST_SECONDS_MIN = 0.5
# The wait between two attempts.
WAIT_SECONDS = 0.2
# Clocks of producers, brokers and workers differ.
CLOCK_MARGIN_SECONDS = 86_400


Arrived = Mapping[TopicPartition, StartOffset]


@dataclass(frozen=True, slots=True)
class TailOptions:
    """The bounds of a rebuild.

    Attributes:
        records_max: how many records of each partition are read; 0: none.
        rows_max: how many records of each topic are read: the capacity of its window.
        seconds_max: how long it may take, for all partitions together.
        age_seconds: the age of the oldest record that the window still keeps.
        end: from the start of a partition, the offset behind the last record that the commit names
            as settled.
    """

    records_max: int
    rows_max: Mapping[str, int]
    seconds_max: float
    age_seconds: float
    end: Callable[[Start], int]


class WindowRebuild:
    """Reads the tails of partitions that arrive.

    Args:
        connection: the brokers.
        options: the bounds.
        naming: for each topic, the topics whose records may name its own: dead letters and parking.
        post: takes `TailRead`.
        drained: waits until the posted events are handled.
        unix_time: reads the clock that dates records.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        options: TailOptions,
        naming: Mapping[str, frozenset[str]],
        post: Callable[[Event], None],
        drained: Callable[[], Awaitable[None]],
        unix_time: Callable[[], float],
    ) -> None:
        self._connection = connection.capped(
            max(REQUEST_SECONDS_MIN, options.seconds_max * REQUEST_SHARE)
        )
        self._chunk_seconds_max = max(2 * REQUEST_SECONDS_MIN, options.seconds_max * CHUNK_SHARE)
        self._unix_time = unix_time
        self._options = options
        self._naming = naming
        self._post = post
        self._drained = drained

    async def read(self, arrived: Arrived, known_from: Mapping[TopicPartition, int]) -> None:
        """Post the tails of these partitions, as far as time allows. Returns when they are handled.

        Args:
            arrived: the partitions and their committed positions.
            known_from: the offset up to which this process has settled a partition itself, and so
                knows its records.
        """
        todo = _Todo(deque(_newest_first(list(self._tails(arrived, known_from)))))
        seconds_max = self._options.seconds_max
        try:
            async with asyncio.timeout(seconds_max):
                await self._read(todo, arrived)
        except TimeoutError:
            todo.note(f"not finished within {seconds_max:g} s")
        except (KafkaError, UnicodeDecodeError, TooMuchError) as error:
            todo.note(text_of(error))
        unread = sum(span.length for span in (*todo.spans, *todo.given_up))
        if unread:
            fields = {"records": unread, "detail": "; ".join(todo.problems)}
            logger.warning("window_not_rebuilt", extra=fields)

    def _tails(self, arrived: Arrived, known_from: Mapping[TopicPartition, int]) -> Iterator[Span]:
        """Yield the tail of each partition that has one, as far as it isn't known."""
        neighbours = Counter(partition.topic for partition in arrived)
        for partition, where in sorted(arrived.items()):
            # Where reading starts elsewhere than at the committed position, nothing shows what was
            # settled before it.
            if where.committed is not None and where.committed.offset == where.position:
                share = self._options.rows_max[partition.topic] // neighbours[partition.topic]
                depth = min(self._options.records_max, share)
                begin = max(known_from.get(partition, 0), where.committed.offset - depth)
                tail = Span(partition, begin, self._options.end(_start(partition, where)))
                if tail.length and depth:
                    yield tail

    async def _read(self, todo: _Todo, arrived: Arrived) -> None:
        """Read until nothing is left, with new connections after each failure.

        Raises:
            KafkaError, UnicodeDecodeError, TooMuchError: it can't be known what must not count as
                seen.
        """
        # First the records that must not count as seen: without them nothing may be remembered.
        undelivered: UndeliveredRecords | None = None
        while todo.spans:
            try:
                async with TopicReader(self._connection) as reader:
                    if undelivered is None:
                        undelivered = await self._undelivered(
                            reader, {span.partition.topic for span in todo.spans}
                        )
                    while todo.spans:
                        await self._restore(reader, todo, arrived, undelivered)
            except (KafkaError, OSError, UnicodeDecodeError) as error:  # a time-out is an OSError
                if undelivered is None and not _may_pass(error):
                    raise
                todo.note(text_of(error))
                await asyncio.sleep(WAIT_SECONDS)

    async def _undelivered(self, reader: TopicReader, topics: set[str]) -> UndeliveredRecords:
        naming = {name for topic in topics for name in self._naming.get(topic, ())}
        # Records that were written before the oldest wanted record can't name it. The result has
        # that record's time, because the local clock may be corrected meanwhile.
        wanted_from = max(0, round((self._unix_time() - self._options.age_seconds) * 1000))
        since = max(0, wanted_from - CLOCK_MARGIN_SECONDS * 1000)
        return await read_undelivered(reader, naming, (since, wanted_from), self._chunk_seconds_max)

    async def _restore(
        self,
        reader: TopicReader,
        todo: _Todo,
        arrived: Arrived,
        undelivered: UndeliveredRecords,
    ) -> None:
        """Post the records of the first span; move it behind the others if it can't be read now.

        Raises:
            KafkaError, OSError, UnicodeDecodeError: the span can't be read.
        """
        span = todo.spans[0]
        start = _start(span.partition, arrived[span.partition])
        try:
            async for _, records in reader.chunks([span], seconds_max=self._chunk_seconds_max):
                self._post(
                    TailRead(
                        start,
                        records,
                        undelivered.refused,
                        undelivered.parked,
                        undelivered.named_from_milliseconds,
                    )
                )
                await self._drained()
                todo.spans[0] = replace(span, begin=records[-1].offset + 1)
        except (KafkaError, OSError, UnicodeDecodeError) as error:
            todo.put_off(error)
            raise
        todo.spans.popleft()


@dataclass(slots=True)
class _Todo:
    """The spans still to be read, in this order, those given up, and the latest problems."""

    spans: deque[Span]
    given_up: list[Span] = field(default_factory=list)
    problems: deque[str] = field(default_factory=lambda: deque(maxlen=2))
    _damaged: set[TopicPartition] = field(default_factory=set)

    def note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def put_off(self, error: Exception) -> None:
        """Read the first span last; give it up if its partition has been damaged before.

        The first damage may have come from the network.
        """
        partition = self.spans[0].partition
        if not _may_pass(error) and partition in self._damaged:
            self.given_up.append(self.spans.popleft())
            return
        self.spans.rotate(-1)
        if not _may_pass(error):
            self._damaged.add(partition)


def _newest_first(tails: Sequence[Span]) -> Iterator[Span]:
    """Yield the same records, with a long tail cut into its newest records and the rest."""
    yield from (replace(tail, begin=max(tail.begin, tail.end - NEWEST_RECORDS)) for tail in tails)
    yield from (
        replace(tail, end=tail.end - NEWEST_RECORDS)
        for tail in tails
        if tail.length > NEWEST_RECORDS
    )


def _start(partition: TopicPartition, where: StartOffset) -> Start:
    return Start(Assignment(*partition, NO_EPOCH), where.position, where.committed, where.end)


def _may_pass(error: Exception) -> bool:
    """Return whether this failure is of the network or the brokers, not a refusal or damage."""
    # aiokafka doesn't count its own time-out of a look-up as retriable.
    return (isinstance(error, KafkaError) and error.retriable) or isinstance(
        error, KafkaTimeoutError | OSError
    )

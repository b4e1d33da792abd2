"""Reads again what an earlier owner of a partition has settled, so that its events are known when
they come a second time.

The tail of the partition up to its committed position, and a word on each record that did not end
as delivered: what the dead-letter topic and the parking topic name was refused or lies in custody,
and must not count as seen.

Read without a group, under a deadline: what can't be read in time costs duplicates and nothing
else. So the newest records of every partition come first, for an event that comes again mostly does
so soon; and while there is time, connections that fail or are silent are given up for new ones.
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
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.reader import Span, TopicReader
from worker.edges.kafka.start_offsets import Found
from worker.edges.kafka.undelivered import TooMuchError, UndeliveredRecords, read_not_delivered

logger = logging.getLogger("worker.kafka")

# Of each partition, before any older record of another one.
NEWEST_RECORDS = 5_000
# Of the time allowed: the most that one request may take, and that a chunk may, which can need a
# second request.
REQUEST_SHARE, CHUNK_SHARE = 0.15, 0.35
REQUEST_SECONDS_MIN = 0.5
# Between one try and the next.
WAIT_SECONDS = 0.2
# Clocks of producers, brokers and workers differ.
CLOCK_MARGIN_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class TailOptions:
    """How far back, and how long it may take, for all partitions together.

    `records_max` is per partition, 0 for not at all. `rows_max` is per topic: what its window can
    remember, and so the most that is read of all its partitions. `age_seconds` is how old a record
    may be that the window still wants. `end` tells, of where a partition starts, the offset behind
    the last record that the commit names as settled.
    """

    records_max: int
    rows_max: Mapping[str, int]
    seconds_max: float
    age_seconds: float
    end: Callable[[Start], int]


class WindowRebuild:
    """The tails of partitions that arrive.

    Args:
        connection: the brokers.
        options: the bounds.
        naming: of each topic, the topics whose records may name its own: dead letters and parking.
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

    async def read(
        self, arrived: Mapping[TopicPartition, Found], known_from: Mapping[TopicPartition, int]
    ) -> None:
        """Post the tails of these partitions, as far as time allows. Returns when they are handled.

        Args:
            arrived: the partitions and their committed positions.
            known_from: up to where this process has settled a partition itself, and so remembers.
        """
        todo = _Todo(deque(_newest_first(list(self._tails(arrived, known_from)))))
        seconds_max = self._options.seconds_max
        try:
            async with asyncio.timeout(seconds_max):
                await self._read(todo, arrived)
        except TimeoutError:
            todo.note(f"not finished within {seconds_max:g} s")
        except (KafkaError, UnicodeDecodeError, TooMuchError) as error:
            todo.note(f"{type(error).__name__}: {error}")
        unread = sum(span.length for span in (*todo.spans, *todo.given_up))
        if unread:
            logger.warning(
                "window_not_rebuilt",
                extra={"records": unread, "detail": "; ".join(todo.partition_errors)},
            )

    def _tails(
        self, arrived: Mapping[TopicPartition, Found], known_from: Mapping[TopicPartition, int]
    ) -> Iterator[Span]:
        """The tail of each partition, where there is one that isn't known."""
        neighbours = Counter(partition.topic for partition in arrived)
        for partition, where in sorted(arrived.items()):
            # Where reading doesn't go on from what is committed, nobody knows what was settled
            # before it.
            if where.committed is not None and where.committed.offset == where.position:
                share = self._options.rows_max[partition.topic] // neighbours[partition.topic]
                depth = min(self._options.records_max, share)
                begin = max(known_from.get(partition, 0), where.committed.offset - depth)
                tail = Span(partition, begin, self._options.end(_start(partition, where)))
                if tail.length and depth:
                    yield tail

    async def _read(self, todo: _Todo, arrived: Mapping[TopicPartition, Found]) -> None:
        """Read until nothing is left to do, with new connections after each trouble.

        Raises:
            KafkaError, UnicodeDecodeError, TooMuchError: it can't be known what must not count as
                seen.
        """
        # First what must not count as seen: without it nothing may be remembered at all.
        not_delivered: UndeliveredRecords | None = None
        while todo.spans:
            try:
                async with TopicReader(self._connection) as reader:
                    if not_delivered is None:
                        not_delivered = await self._not_delivered(
                            reader, {span.partition.topic for span in todo.spans}
                        )
                    while todo.spans:
                        await self._recall(reader, todo, arrived, not_delivered)
            except (KafkaError, OSError, UnicodeDecodeError) as error:  # a time-out is an OSError
                if not_delivered is None and not _may_pass(error):
                    raise
                todo.note(f"{type(error).__name__}: {error}")
                await asyncio.sleep(WAIT_SECONDS)

    async def _not_delivered(self, reader: TopicReader, topics: set[str]) -> UndeliveredRecords:
        naming = {name for topic in topics for name in self._naming.get(topic, ())}
        # What was written before the oldest record that is wanted can't name it.
        since = self._unix_time() - self._options.age_seconds - CLOCK_MARGIN_SECONDS
        return await read_not_delivered(
            reader, naming, max(0, round(since * 1000)), self._chunk_seconds_max
        )

    async def _recall(
        self,
        reader: TopicReader,
        todo: _Todo,
        arrived: Mapping[TopicPartition, Found],
        not_delivered: UndeliveredRecords,
    ) -> None:
        """Post the records of the first span. If they can't be read now, the others mustn't wait
        for it.

        Raises:
            KafkaError, OSError, UnicodeDecodeError: whatever it was.
        """
        span = todo.spans[0]
        told = _start(span.partition, arrived[span.partition])
        try:
            async for _, records in reader.chunks([span], seconds_max=self._chunk_seconds_max):
                self._post(TailRead(told, records, not_delivered.refused, not_delivered.parked))
                await self._drained()
                todo.spans[0] = replace(span, begin=records[-1].offset + 1)
        except (KafkaError, OSError, UnicodeDecodeError) as error:
            todo.put_off(may_pass=_may_pass(error))
            raise
        todo.spans.popleft()


@dataclass(slots=True)
class _Todo:
    """What is still to be read, in this order; what never will; and what went wrong, the latest
    last.
    """

    spans: deque[Span]
    given_up: list[Span] = field(default_factory=list)
    partition_errors: deque[str] = field(default_factory=lambda: deque(maxlen=2))
    _damaged: set[TopicPartition] = field(default_factory=set)

    def note(self, problem: str) -> None:
        if problem not in self.partition_errors:
            self.partition_errors.append(problem)

    def put_off(self, *, may_pass: bool) -> None:
        """The first span comes last.

        Or never, if it can't be read for the second time: once may be due to the way here.
        """
        span = self.spans.popleft()
        if may_pass or span.partition not in self._damaged:
            self.spans.append(span)
        else:
            self.given_up.append(span)
        if not may_pass:
            self._damaged.add(span.partition)


def _newest_first(tails: Sequence[Span]) -> Iterator[Span]:
    """The same records, in two spans of each partition where one would be long."""
    yield from (replace(tail, begin=max(tail.begin, tail.end - NEWEST_RECORDS)) for tail in tails)
    yield from (
        replace(tail, end=tail.end - NEWEST_RECORDS)
        for tail in tails
        if tail.length > NEWEST_RECORDS
    )


def _start(partition: TopicPartition, where: Found) -> Start:
    return Start(Assignment(*partition, NO_EPOCH), where.position, where.committed, where.end)


def _may_pass(error: Exception) -> bool:
    """True of troubles with the way to the brokers, or among them; not of what they refuse, or of
    what can't be read.
    """
    # aiokafka doesn't count its own time-out of a look-up among what can be tried again.
    return (isinstance(error, KafkaError) and error.retriable) or isinstance(
        error, KafkaTimeoutError | OSError
    )

"""Reads again what an earlier owner of a partition has settled, so that its events are known when they come a second time.

The tail of the partition up to its committed position, and a word on each record that did not end as delivered: what the tails
of the dead-letter topic and of the parking topic name was refused or lies in custody, and must not count as seen. Read by a
consumer without a group, under a deadline: what can't be read in time costs duplicates and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka_client import KafkaConnection
from worker.edges.start_position import Found
from worker.model.event import Event, TailRead
from worker.model.headers import ERRORS_PREFIX, PARKED_PREFIX, Place
from worker.model.record import NO_EPOCH, Assignment, Record, Start, TopicPartition

logger = logging.getLogger("worker.kafka")

CHUNK_RECORDS = 1000
POLL_MILLISECONDS = 200
FETCH_WAIT_MILLISECONDS = 10
STOP_SECONDS_MAX = 2.0
# More dead letters or parked records than this within the window's age, and the window isn't rebuilt.
NAMING_RECORDS_MAX = 100_000
# Clocks of producers, brokers and workers differ.
CLOCK_MARGIN_SECONDS = 86_400


class TooMuchError(Exception):
    """It can't be known which records must not count as seen, so none may."""


@dataclass(frozen=True, slots=True)
class TailOptions:
    """How far back, and how long it may take, for all partitions together.

    `records_max` is per partition, 0 for not at all; `age_seconds` how old a record may be that the window still wants.
    """

    records_max: int
    seconds_max: float
    age_seconds: float


@dataclass(slots=True)
class _Named:
    """The records that a dead letter or a parked record names, by where they were first received."""

    refused: set[Place] = field(default_factory=set)
    parked: set[Place] = field(default_factory=set)


class Tails:
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
        self._unix_time = unix_time
        self._connection = connection
        self._options = options
        self._naming = naming
        self._post = post
        self._drained = drained

    async def read(self, arrived: Mapping[TopicPartition, Found], known_from: Mapping[TopicPartition, int]) -> None:
        """Post the tails of these partitions, as far as time allows. Returns when they are handled.

        Args:
            arrived: the partitions and their committed positions.
            known_from: up to where this process has settled a partition itself, and so remembers.
        """
        spans = {
            partition: (max(known_from.get(partition, 0), where.committed.offset - self._options.records_max), where)
            for partition, where in arrived.items()
            if where.committed is not None
        }
        spans = {one: (start, where) for one, (start, where) in spans.items() if start < _end(where)}
        if not spans or self._options.records_max == 0:
            return
        consumer = self._connection.consumer(
            enable_auto_commit=False,
            isolation_level="read_committed",
            # Behind the end of one partition the client waits for more records, and only then asks for the next one's.
            fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
        )
        try:
            async with asyncio.timeout(self._options.seconds_max):
                await consumer.start()
                await self._read(consumer, spans)
        except (TimeoutError, KafkaError, OSError, UnicodeDecodeError, TooMuchError) as error:  # Unicode: of a header's name
            logger.warning("window_not_rebuilt", extra={"detail": f"{type(error).__name__}: {error}"})
        finally:
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer, spans: Mapping[TopicPartition, tuple[int, Found]]) -> None:
        # First what must not count as seen: without it nothing may be remembered at all.
        named = await self._named(consumer, {topic for one in spans for topic in self._naming.get(one.topic, ())})
        for partition, (start, where) in spans.items():
            client = ClientPartition(*partition)
            consumer.assign([client])
            begin = max(start, (await consumer.beginning_offsets([client]))[client])
            told = Start(Assignment(*partition, NO_EPOCH), where.position, where.committed, where.end)
            async for records in _records(consumer, client, begin, _end(where)):
                self._post(TailRead(told, records, named.refused, named.parked))
                await self._drained()

    async def _named(self, consumer: AIOKafkaConsumer, topics: set[str]) -> _Named:
        """What the records of these topics say of others."""
        named = _Named()
        # What was written before the oldest record that is wanted can't name it.
        since = round((self._unix_time() - self._options.age_seconds - CLOCK_MARGIN_SECONDS) * 1000)
        for client in await self._partitions(topics):
            consumer.assign([client])
            end = (await consumer.end_offsets([client]))[client]
            found = (await consumer.offsets_for_times({client: max(0, since)}))[client]
            begin = found.offset if found is not None else end
            if end - begin > NAMING_RECORDS_MAX:
                raise TooMuchError(f"{client.topic} names more than {NAMING_RECORDS_MAX} records")
            async for records in _records(consumer, client, begin, end):
                for record in records:
                    _note(named, record)
        return named

    async def _partitions(self, topics: set[str]) -> list[ClientPartition]:
        """The partitions of those that exist. Asked of the brokers: a consumer knows only of topics that it subscribes to."""
        admin = self._connection.admin()
        try:
            await admin.start()
            present = sorted(topics & set(await admin.list_topics()))
            described = await admin.describe_topics(present) if present else []
        finally:
            await admin.close()
        return [ClientPartition(one["topic"], partition["partition"]) for one in described for partition in one["partitions"]]


async def _records(
    consumer: AIOKafkaConsumer, partition: ClientPartition, begin: int, end: int
) -> AsyncIterator[Sequence[Record]]:
    """The records of the one assigned partition, from one offset to before another, in chunks."""
    if begin >= end:
        return
    consumer.seek(partition, begin)
    while await consumer.position(partition) < end:
        fetched = await consumer.getmany(partition, timeout_ms=POLL_MILLISECONDS, max_records=CHUNK_RECORDS)
        records = [record for record in fetched.get(partition, ()) if record.offset < end]
        if records:
            yield records


def _end(where: Found) -> int:
    """Where the tail ends: hints may name records above the committed position as settled, and those are part of it."""
    has_hints = where.committed is not None and bool(where.committed.metadata)
    return max(where.position, where.end or 0) if has_hints else where.position


def _note(named: _Named, record: Record) -> None:
    headers = {name: value for name, value in record.headers if value is not None}
    for prefix, places in ((ERRORS_PREFIX, named.refused), (PARKED_PREFIX, named.parked)):
        try:
            topic = headers[prefix + "topic"].decode()
            places.add(Place(topic, int(headers[prefix + "partition"]), int(headers[prefix + "offset"])))
        except (KeyError, ValueError):
            # Not one of ours: somebody else writes here too.
            continue

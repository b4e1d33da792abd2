"""Writes records to a topic of ours, for as long as it takes.

A record counts as written only when the topic has acknowledged it (`acks=all`). What can't be
written is tried again, and reported each time: the pipeline stops the line meanwhile. The producer
is disposable: after a failure the next attempt has a new one, which begins with the bootstrap
servers. aiokafka's own never gives up: it goes on asking addresses at which no broker is any more.
So what isn't acknowledged in time is a failure too.

Records go in pieces, and one after the other within a piece. Handed over all at once, all of them
wait for room in a batch of their partition and try again each time when one is sent, which takes
the square of their number.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from worker.core.model.event import Event
from worker.edges.kafka.client import GRACE_SECONDS, STOP_SECONDS_MAX, KafkaConnection
from worker.edges.kafka.closing import close_producer
from worker.supervision import is_cancelled_from_within

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 30.0
# One piece: 15 ms of the event loop, and a fraction of a second until its acknowledgement.
PIECE_RECORDS_MAX = 500
PIECE_BYTES_MAX = 1024 * 1024
# The broker decides what is too large; the client's own limit would only get in the way.
REQUEST_BYTES_MAX = 64 * 1024 * 1024

# Larger than a batch may be, or larger than a segment of the log.
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# zstd: where lz4 as aiokafka sets it up takes 0.2 s of the event loop for 10 MB, it takes 0.02 s,
# and less room.
OPTIONS: dict[str, Any] = {"compression_type": "zstd", "max_request_size": REQUEST_BYTES_MAX}


class Entry(Protocol):
    """What a record is made of. `size_bytes` is what holding it costs."""

    @property
    def size_bytes(self) -> int: ...


T = TypeVar("T", bound=Entry)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written.

    `spread` chooses the partition, the same one for the same number; None: by the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    spread: int | None = None


@dataclass(frozen=True, slots=True)
class WriterSpec(Generic[T]):
    """What one writer is for.

    `outgoing` makes the record. `shortened` makes one that takes less room, for a topic that finds
    it too large; None: then it is tried again as it is. `acknowledged` and `failed` make the
    events.
    """

    outgoing: Callable[[T], Outgoing]
    shortened: Callable[[T], Outgoing] | None
    acknowledged: Callable[[tuple[T, ...]], Event]
    failed: Callable[[int, str], Event]


class TopicWriter(Generic[T]):
    """One way out to Kafka.

    Args:
        connection: the brokers.
        duty: what is written, and what is said of it.
        post: takes the events.
    """

    def __init__(
        self, connection: KafkaConnection, duty: WriterSpec[T], post: Callable[[Event], None]
    ) -> None:
        self._connection = connection
        self._duty = duty
        self._post = post
        self._waiting: deque[T] = deque()
        self._arrival = asyncio.Event()
        self._producer: AIOKafkaProducer | None = None

    def write(self, entries: tuple[T, ...]) -> None:
        """Write these, after those asked for before.

        Never waits; what waits here is bounded by what the pipeline may hold.
        """
        self._waiting.extend(entries)
        self._arrival.set()

    async def run(self) -> None:
        """Write what is asked for, until cancelled."""
        while True:
            await self._arrival.wait()
            while self._waiting:
                await self._write(self._piece())
            self._arrival.clear()

    async def close(self) -> None:
        """Close the connection; gives up on it after a while."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer, STOP_SECONDS_MAX)

    def _piece(self) -> list[T]:
        piece: list[T] = []
        room = PIECE_BYTES_MAX
        while self._waiting and len(piece) < PIECE_RECORDS_MAX and room > 0:
            piece.append(self._waiting.popleft())
            room -= piece[-1].size_bytes
        return piece

    async def _write(self, entries: Sequence[T]) -> None:
        """Return when all are acknowledged, and not before."""
        wait_seconds = RETRY_SECONDS_FIRST
        while entries:
            faults = await self._attempt(entries)
            done = tuple(one for one, fault in zip(entries, faults, strict=True) if fault is None)
            entries = [one for one, fault in zip(entries, faults, strict=True) if fault is not None]
            if done:
                self._post(self._duty.acknowledged(done))
            if entries:
                fault = next(fault for fault in faults if fault is not None)
                self._post(self._duty.failed(len(entries), f"{type(fault).__name__}: {fault}"))
                await self.close()
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, RETRY_SECONDS_MAX)

    async def _attempt(self, entries: Sequence[T]) -> list[Exception | None]:
        """Per entry, None once it is acknowledged or what went wrong."""
        try:
            producer = await self._connected()
        except (KafkaError, TimeoutError, OSError) as error:
            return [error] * len(entries)
        faults = await self._send_by_topic(producer, [self._duty.outgoing(one) for one in entries])
        if any(isinstance(fault, TOO_LARGE) for fault in faults):
            # The broker refuses a whole batch for one record in it. What is refused leaves a gap in
            # the producer's sequence, and all that follows is refused for that: this producer is of
            # no use any more.
            await self.close()
            failed = [index for index, fault in enumerate(faults) if fault is not None]
            again = await self._attempt_each([entries[index] for index in failed])
            for index, fault in zip(failed, again, strict=True):
                faults[index] = fault
        return faults

    async def _attempt_each(self, entries: Sequence[T]) -> list[Exception | None]:
        """As `_attempt`, but each is a batch of its own, without a sequence: what one is refused
        for touches no other.
        """
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self._connection.started_producer(
                acks="all", enable_idempotence=False, max_batch_size=1, **OPTIONS
            )
            return [await self._send_alone(producer, one) for one in entries]
        except (KafkaError, OSError) as error:
            return [error] * len(entries)
        finally:
            if producer is not None:
                await close_producer(producer, STOP_SECONDS_MAX)

    async def _send_alone(self, producer: AIOKafkaProducer, entry: T) -> Exception | None:
        (fault,) = await self._send(producer, [self._duty.outgoing(entry)])
        if isinstance(fault, TOO_LARGE) and self._duty.shortened is not None:
            (fault,) = await self._send(producer, [self._duty.shortened(entry)])
        return fault

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = await self._connection.started_producer(
                acks="all", enable_idempotence=True, linger_ms=5, **OPTIONS
            )
        return self._producer

    async def _send_by_topic(
        self, producer: AIOKafkaProducer, records: Sequence[Outgoing]
    ) -> list[Exception | None]:
        """As `_send`. A topic that is missing keeps no other waiting."""
        indexes: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            indexes.setdefault(record.topic, []).append(index)
        sent = await asyncio.gather(
            *(self._send(producer, [records[one] for one in mine]) for mine in indexes.values())
        )
        faults: list[Exception | None] = [None] * len(records)
        for mine, theirs in zip(indexes.values(), sent, strict=True):
            for index, fault in zip(mine, theirs, strict=True):
                faults[index] = fault
        return faults

    async def _send(
        self, producer: AIOKafkaProducer, records: Sequence[Outgoing]
    ) -> list[Exception | None]:
        """Per record, None once it is acknowledged or what went wrong."""
        seconds_max = self._connection.request_timeout_seconds + GRACE_SECONDS
        sent: list[asyncio.Future[Any] | Exception] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                for record in records:
                    sent.append(await _hand_over(producer, record))
                    if isinstance(sent[-1], Exception) and not isinstance(sent[-1], TOO_LARGE):
                        # Of the topic, not of the record.
                        sent += [sent[-1]] * (len(records) - len(sent))
                        break
                futures = [one for one in sent if isinstance(one, asyncio.Future)]
                if futures:
                    await asyncio.wait(futures)
        late = KafkaTimeoutError(f"not acknowledged within {seconds_max:g} s")
        sent += [late] * (len(records) - len(sent))
        return [one if isinstance(one, Exception) else _fault(one, late) for one in sent]


async def _hand_over(
    producer: AIOKafkaProducer, record: Outgoing
) -> asyncio.Future[Any] | Exception:
    """The acknowledgement to come, or what went wrong."""
    try:
        partition = None
        if record.spread is not None:
            partitions = sorted(await producer.partitions_for(record.topic))
            partition = partitions[record.spread % len(partitions)]
        # A record may have neither key nor value; aiokafka's assertion against that would end the
        # process at each restart.
        value = b"" if record.key is None and record.value is None else record.value
        acknowledgement: asyncio.Future[Any] = await producer.send(
            record.topic, value=value, key=record.key, headers=record.headers, partition=partition
        )
    except (KafkaError, TimeoutError) as error:
        return error
    except asyncio.CancelledError:
        if not is_cancelled_from_within():
            raise
        return KafkaError("aiokafka cancelled the write")
    return acknowledgement


def _fault(acknowledgement: asyncio.Future[Any], late: Exception) -> Exception | None:
    """What became of a record: None for acknowledged."""
    if not acknowledgement.done():
        # Its producer is given up. What aiokafka makes of it then is nobody's concern.
        acknowledgement.add_done_callback(lambda one: one.cancelled() or one.exception())
        return late
    if acknowledgement.cancelled():
        return KafkaError("aiokafka cancelled the write")
    error = acknowledgement.exception()
    if error is None or isinstance(error, Exception):
        return error
    raise error

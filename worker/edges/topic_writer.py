"""Writes records to a topic of ours, for as long as it takes.

A record counts as written only when the topic has acknowledged it (`acks=all`). What can't be written is tried again, and
reported each time: the pipeline stops the line meanwhile. The producer is disposable: after a failure the next attempt has a
new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from worker.edges.closing import close_producer
from worker.edges.kafka_client import KafkaConnection
from worker.lasting import is_cancelled_from_within
from worker.model.event import Event

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
# The broker decides what is too large; the client's own limit would only get in the way.
REQUEST_BYTES_MAX = 64 * 1024 * 1024

# Larger than a batch may be, or larger than a segment of the log.
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# zstd: where lz4 as aiokafka sets it up takes 0.2 s of the event loop for 10 MB, it takes 0.02 s, and less room.
OPTIONS: dict[str, Any] = {"compression_type": "zstd", "max_request_size": REQUEST_BYTES_MAX}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written. `spread` chooses the partition, the same one for the same number; None: by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    spread: int | None = None


@dataclass(frozen=True, slots=True)
class Duty(Generic[T]):
    """What one writer is for.

    `outgoing` makes the record. `shortened` makes one that takes less room, for a topic that finds it too large; None: then it
    is tried again as it is. `acknowledged` and `failed` make the events.
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

    def __init__(self, connection: KafkaConnection, duty: Duty[T], post: Callable[[Event], None]) -> None:
        self._connection = connection
        self._duty = duty
        self._post = post
        self._waiting: asyncio.Queue[tuple[T, ...]] = asyncio.Queue()
        self._producer: AIOKafkaProducer | None = None

    def write(self, entries: tuple[T, ...]) -> None:
        """Write these, after those asked for before. Never waits; what waits here is bounded by what the pipeline may hold."""
        self._waiting.put_nowait(entries)

    async def run(self) -> None:
        """Write what is asked for, until cancelled."""
        while True:
            await self._write(await self._waiting.get())

    async def close(self) -> None:
        """Close the connection; gives up on it after a while."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer, STOP_SECONDS_MAX)

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
        faults = list(await asyncio.gather(*(self._send(producer, self._duty.outgoing(one)) for one in entries)))
        if any(isinstance(fault, TOO_LARGE) for fault in faults):
            # The broker refuses a whole batch for one record in it. What is refused leaves a gap in the producer's sequence,
            # and all that follows is refused for that: this producer is of no use any more.
            await self.close()
            failed = [index for index, fault in enumerate(faults) if fault is not None]
            again = await self._attempt_each([entries[index] for index in failed])
            for index, fault in zip(failed, again, strict=True):
                faults[index] = fault
        return faults

    async def _attempt_each(self, entries: Sequence[T]) -> list[Exception | None]:
        """As `_attempt`, but each is a batch of its own, without a sequence: what one is refused for touches no other."""
        producer: AIOKafkaProducer | None = None
        try:
            producer = self._connection.producer(acks="all", enable_idempotence=False, max_batch_size=1, **OPTIONS)
            await producer.start()
            return list(await asyncio.gather(*(self._send_alone(producer, one) for one in entries)))
        except (KafkaError, OSError) as error:
            return [error] * len(entries)
        finally:
            if producer is not None:
                await close_producer(producer, STOP_SECONDS_MAX)

    async def _send_alone(self, producer: AIOKafkaProducer, entry: T) -> Exception | None:
        fault = await self._send(producer, self._duty.outgoing(entry))
        if isinstance(fault, TOO_LARGE) and self._duty.shortened is not None:
            return await self._send(producer, self._duty.shortened(entry))
        return fault

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = self._connection.producer(acks="all", enable_idempotence=True, linger_ms=5, **OPTIONS)
            try:
                await producer.start()
            except BaseException:
                await close_producer(producer, STOP_SECONDS_MAX)
                raise
            self._producer = producer
        return self._producer

    async def _send(self, producer: AIOKafkaProducer, record: Outgoing) -> Exception | None:
        try:
            partition = None
            if record.spread is not None:
                partitions = sorted(await producer.partitions_for(record.topic))
                partition = partitions[record.spread % len(partitions)]
            # A record may have neither key nor value; aiokafka's assertion against that would end the process at each restart.
            value = b"" if record.key is None and record.value is None else record.value
            acknowledgement = await producer.send(
                record.topic, value=value, key=record.key, headers=record.headers, partition=partition
            )
            await acknowledgement
        except (KafkaError, TimeoutError) as error:
            return error
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return KafkaError("aiokafka cancelled it")
        return None

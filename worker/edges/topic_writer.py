"""Writes records to a topic of ours, for as long as it takes.

A record counts as written only when the topic has acknowledged it (`acks=all`). What can't be written is tried again, and
reported each time: the pipeline stops the line meanwhile. The producer is disposable: after a failure the next attempt has a
new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.edges.kafka_client import KafkaConnection
from worker.lasting import is_cancelled_from_within
from worker.model.event import Event

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
# The broker decides what is too large; the client's own limit would only get in the way.
REQUEST_BYTES_MAX = 64 * 1024 * 1024

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
        if producer is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await producer.stop()
        except (TimeoutError, KafkaError):
            # Nothing is lost with it: what wasn't acknowledged is uncommitted.
            return

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
        for index, fault in enumerate(faults):
            # The broker refuses a whole batch for one record in it, so each is tried alone before it is called too large.
            if isinstance(fault, MessageSizeTooLargeError):
                faults[index] = await self._send_alone(producer, entries[index])
        return faults

    async def _send_alone(self, producer: AIOKafkaProducer, entry: T) -> Exception | None:
        fault = await self._send(producer, self._duty.outgoing(entry))
        if isinstance(fault, MessageSizeTooLargeError) and self._duty.shortened is not None:
            return await self._send(producer, self._duty.shortened(entry))
        return fault

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = self._connection.producer(
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=5,
                max_request_size=REQUEST_BYTES_MAX,
            )
            try:
                await producer.start()
            except (KafkaError, OSError):
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _send(self, producer: AIOKafkaProducer, record: Outgoing) -> Exception | None:
        try:
            partition = None
            if record.spread is not None:
                partitions = sorted(await producer.partitions_for(record.topic))
                partition = partitions[record.spread % len(partitions)]
            acknowledgement = await producer.send(
                record.topic, value=record.value, key=record.key, headers=record.headers, partition=partition
            )
            await acknowledgement
        except (KafkaError, TimeoutError) as error:
            return error
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return KafkaError("aiokafka cancelled it")
        return None

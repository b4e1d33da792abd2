"""Writes records to dead-letter and parking topics, until they are acknowledged.

A record counts as written only when the topic has acknowledged it (`acks=all`). A record that can't
be written is tried again, and each failure is reported: the pipeline stops receiving meanwhile.
After a failure the next attempt uses a new producer, which begins with the bootstrap servers.
aiokafka's producer never gives up: it asks old addresses even if no broker is there any more. So a
missing acknowledgement is a failure too.

Records go in pieces, and one after the other within a piece (see `worker.edges.kafka.producer`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from worker.core.model.event import Event
from worker.edges.kafka.aiokafka_internals.closing import close_producer
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import GRACE_SECONDS, STOP_SECONDS_MAX, KafkaConnection
from worker.edges.kafka.producer import (
    REQUEST_BYTES_MAX,
    TOO_LARGE,
    Outgoing,
    send,
    send_by_topic,
)

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 30.0
# One piece: 15 ms of the event loop, and a fraction of a second until its acknowledgement.
PIECE_RECORDS_MAX = 500
PIECE_BYTES_MAX = 1024 * 1024
# zstd takes 0.02 s of the event loop for 10 MB, and lz4 as aiokafka sets it up 0.2 s.
OPTIONS: dict[str, Any] = {"compression_type": "zstd", "max_request_size": REQUEST_BYTES_MAX}


class Entry(Protocol):
    """The source of a record. `size_bytes` is its cost in memory."""

    @property
    def size_bytes(self) -> int: ...


T = TypeVar("T", bound=Entry)


@dataclass(frozen=True, slots=True)
class WriterSpec(Generic[T]):
    """The purpose of a writer.

    Attributes:
        outgoing: makes the record.
        shortened: makes a smaller record, for a topic that finds the record too large; None: the
            record is tried again as it is.
        acknowledged: makes the event for written entries.
        failed: makes the event for a failure, from the number of entries and the detail.
    """

    outgoing: Callable[[T], Outgoing]
    shortened: Callable[[T], Outgoing] | None
    acknowledged: Callable[[tuple[T, ...]], Event]
    failed: Callable[[int, str], Event]


# Takes note of an attempt that ends now: its topic, its entries, the faults among them, and when it
# began, in Unix nanoseconds.
NoteWrite = Callable[[str, Sequence[T], Sequence[Exception], int], None]


class TopicWriter(Generic[T]):
    """Writes entries of one kind.

    Args:
        connection: the brokers.
        spec: how records and events are made.
        post: takes the events.
        note_write: called for each attempt; None: attempts aren't noted.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        spec: WriterSpec[T],
        post: Callable[[Event], None],
        note_write: NoteWrite[T] | None = None,
    ) -> None:
        self._connection = connection
        self._seconds_max = connection.request_timeout_seconds + GRACE_SECONDS
        self._spec = spec
        self._post = post
        self._note_write = note_write
        self._waiting: deque[T] = deque()
        self._arrival = asyncio.Event()
        self._producer: AIOKafkaProducer | None = None

    def write(self, entries: tuple[T, ...]) -> None:
        """Write these entries, after those of earlier calls.

        Never waits. The pipeline's memory budget bounds the entries that wait here.
        """
        self._waiting.extend(entries)
        self._arrival.set()

    async def run(self) -> None:
        """Write the entries that wait, until cancelled."""
        while True:
            await self._arrival.wait()
            while self._waiting:
                await self._write(self._piece())
            self._arrival.clear()

    async def close(self) -> None:
        """Close the connection, within a time limit."""
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
            started = time.time_ns()
            faults = await self._attempt(entries)
            self._note(entries, faults, started)
            done = tuple(one for one, fault in zip(entries, faults, strict=True) if fault is None)
            entries = [one for one, fault in zip(entries, faults, strict=True) if fault is not None]
            if done:
                self._post(self._spec.acknowledged(done))
            if entries:
                fault = next(fault for fault in faults if fault is not None)
                self._post(self._spec.failed(len(entries), text_of(fault)))
                await self.close()
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, RETRY_SECONDS_MAX)

    def _note(self, entries: Sequence[T], faults: Sequence[Exception | None], started: int) -> None:
        if self._note_write is None:
            return
        by_topic: dict[str, list[tuple[T, Exception | None]]] = {}
        for entry, fault in zip(entries, faults, strict=True):
            by_topic.setdefault(self._spec.outgoing(entry).topic, []).append((entry, fault))
        for topic, attempted in by_topic.items():
            ours = [entry for entry, _ in attempted]
            failed = [fault for _, fault in attempted if fault is not None]
            self._note_write(topic, ours, failed, started)

    async def _attempt(self, entries: Sequence[T]) -> list[Exception | None]:
        """Return for each entry None if it is acknowledged, or else the error."""
        try:
            producer = await self._connected()
        except (KafkaError, TimeoutError, OSError) as error:
            return [error] * len(entries)
        faults = await send_by_topic(
            producer, [self._spec.outgoing(one) for one in entries], self._seconds_max
        )
        if any(isinstance(fault, TOO_LARGE) for fault in faults):
            # The broker refuses a whole batch for one record in it. The refusal leaves a gap in the
            # producer's sequence, for which all later batches are refused: this producer is
            # unusable.
            await self.close()
            failed = [index for index, fault in enumerate(faults) if fault is not None]
            again = await self._attempt_each([entries[index] for index in failed])
            for index, fault in zip(failed, again, strict=True):
                faults[index] = fault
        return faults

    async def _attempt_each(self, entries: Sequence[T]) -> list[Exception | None]:
        """As `_attempt`, but each entry is a batch of its own, without a sequence.

        The refusal of one entry touches no other.
        """
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self._connection.started_producer(
                acks="all", enable_idempotence=False, max_batch_size=1, **OPTIONS
            )
            faults: list[Exception | None] = []
            # Topics with a fault that is not the record's: each further record would wait as long.
            lost: dict[str, Exception] = {}
            for entry in entries:
                topic = self._spec.outgoing(entry).topic
                fault = lost.get(topic) or await self._send_alone(producer, entry)
                if fault is not None and not isinstance(fault, TOO_LARGE):
                    lost[topic] = fault
                faults.append(fault)
            return faults
        except (KafkaError, OSError) as error:
            return [error] * len(entries)
        finally:
            if producer is not None:
                await close_producer(producer, STOP_SECONDS_MAX)

    async def _send_alone(self, producer: AIOKafkaProducer, entry: T) -> Exception | None:
        (fault,) = await send(producer, [self._spec.outgoing(entry)], self._seconds_max)
        if isinstance(fault, TOO_LARGE) and self._spec.shortened is not None:
            (fault,) = await send(producer, [self._spec.shortened(entry)], self._seconds_max)
        return fault

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = await self._connection.started_producer(
                acks="all", enable_idempotence=True, linger_ms=5, **OPTIONS
            )
        return self._producer

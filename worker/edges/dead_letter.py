"""Writes rejected records to their dead-letter topic, for as long as it takes.

A record counts as dead-lettered only when the topic has acknowledged it (`acks=all`). What can't be written is tried again,
and reported each time: the pipeline stops the line meanwhile. The producer is disposable: after a failure the next attempt
has a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from worker.edges.kafka_client import KafkaConnection
from worker.model.event import DeadLettersAcknowledged, DeadLettersFailed, Event
from worker.model.fault import Rejection
from worker.model.record import Record

HEADER_PREFIX = "__appmetrica.errors."
REPLAYS_HEADER = f"{HEADER_PREFIX}replays"

RETRY_SECONDS_FIRST = 0.5
RETRY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
# The broker decides what is too large; the client's own limit would only get in the way.
REQUEST_BYTES_MAX = 64 * 1024 * 1024


class DeadLetterWriter:
    """The way to the dead-letter topics.

    Args:
        connection: the brokers.
        topics: the dead-letter topic of each topic.
        worker_version: for the header of that name.
        post: takes `DeadLettersAcknowledged` and `DeadLettersFailed`.
    """

    def __init__(
        self, connection: KafkaConnection, topics: Mapping[str, str], worker_version: str, post: Callable[[Event], None]
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._worker_version = worker_version
        self._post = post
        self._waiting: asyncio.Queue[tuple[Rejection, ...]] = asyncio.Queue()
        self._producer: AIOKafkaProducer | None = None

    def bury(self, rejections: tuple[Rejection, ...]) -> None:
        """Write these, after those asked for before. Never waits; what waits here is bounded by what the pipeline may hold."""
        self._waiting.put_nowait(rejections)

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

    async def _write(self, rejections: Sequence[Rejection]) -> None:
        """Return when all are acknowledged, and not before."""
        wait_seconds = RETRY_SECONDS_FIRST
        while rejections:
            results = await self._attempt(rejections)
            done = tuple(one for one, fault in zip(rejections, results, strict=True) if fault is None)
            rejections = [one for one, fault in zip(rejections, results, strict=True) if fault is not None]
            if done:
                self._post(DeadLettersAcknowledged(done))
            if rejections:
                fault = next(fault for fault in results if fault is not None)
                self._post(DeadLettersFailed(len(rejections), f"{type(fault).__name__}: {fault}"))
                await self.close()
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, RETRY_SECONDS_MAX)

    async def _attempt(self, rejections: Sequence[Rejection]) -> list[Exception | None]:
        """Per record, None once it is acknowledged or what went wrong."""
        try:
            producer = await self._connected()
        except (KafkaError, TimeoutError) as error:
            return [error] * len(rejections)
        return await asyncio.gather(*(self._send(producer, one) for one in rejections))

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
            except KafkaError:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _send(self, producer: AIOKafkaProducer, rejection: Rejection) -> Exception | None:
        record = rejection.record
        try:
            acknowledgement = await producer.send(
                self._topics[rejection.assignment.topic],
                value=record.value,
                key=record.key,
                headers=headers(rejection, self._worker_version),
            )
            await acknowledgement
        except (KafkaError, TimeoutError) as error:
            return error
        return None


def headers(rejection: Rejection, worker_version: str) -> list[tuple[str, bytes]]:
    """The record's own headers as they are, and ours behind them; those of an earlier rejection give way."""
    record, assignment = rejection.record, rejection.assignment
    faults = [{"reason": one.reason, "field": one.field, "message": one.message} for one in rejection.faults]
    ours = {
        "reason": rejection.reason.value.encode(),
        "detail": orjson.dumps(faults),
        "topic": assignment.topic.encode(),
        "partition": b"%d" % assignment.partition,
        "offset": b"%d" % record.offset,
        "timestamp": b"%d" % record.timestamp,
        "http_status": b"" if rejection.http_status is None else b"%d" % rejection.http_status,
        "worker_version": worker_version.encode(),
        "replays": replays(record),
    }
    own = [(name, value) for name, value in record.headers if not name.startswith(HEADER_PREFIX)]
    return own + [(HEADER_PREFIX + name, value) for name, value in ours.items()]


def replays(record: Record) -> bytes:
    """How often this record was sent again from the dead-letter topic, as its replay has noted it."""
    return next((value for name, value in record.headers if name == REPLAYS_HEADER), b"0")

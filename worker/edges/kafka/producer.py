"""Sends records, and learns of each record whether it is acknowledged.

Records to one topic go one after the other. Handed over all at once, all of them wait for room in a
batch of their partition and try again each time a batch is sent, which takes the square of their
number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from worker.edges.kafka.aiokafka_internals.closing import close_producer
from worker.edges.kafka.client import GRACE_SECONDS, STOP_SECONDS_MAX, KafkaConnection
from worker.supervision import is_cancelled_from_within

# The broker decides what is too large; the client's own limit would only get in the way.
REQUEST_BYTES_MAX = 64 * 1024 * 1024
# Larger than a batch may be, or larger than a segment of the log.
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written.

    `spread` chooses the partition, the same partition for the same number; None: by the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    spread: int | None = None


async def send_by_topic(
    producer: AIOKafkaProducer, records: Sequence[Outgoing], seconds_max: float
) -> list[Exception | None]:
    """As `send`. A missing topic keeps no other waiting."""
    indexes: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        indexes.setdefault(record.topic, []).append(index)
    sent = await asyncio.gather(
        *(
            send(producer, [records[index] for index in mine], seconds_max)
            for mine in indexes.values()
        )
    )
    faults: list[Exception | None] = [None] * len(records)
    for mine, theirs in zip(indexes.values(), sent, strict=True):
        for index, fault in zip(mine, theirs, strict=True):
            faults[index] = fault
    return faults


async def send(
    producer: AIOKafkaProducer, records: Sequence[Outgoing], seconds_max: float
) -> list[Exception | None]:
    """Send these records, all to one topic, and wait for their acknowledgements.

    Returns, for each record, None if it is acknowledged, or else what went wrong.
    """
    sent: list[asyncio.Future[Any] | Exception] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds_max):
            for record in records:
                sent.append(await _hand_over(producer, record))
                if isinstance(sent[-1], Exception) and not isinstance(sent[-1], TOO_LARGE):
                    # A fault of the topic, not of the record.
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
    """Give a record to the producer; returns its future acknowledgement, or what went wrong."""
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
    """Return what went wrong with a record; None if it is acknowledged."""
    if not acknowledgement.done():
        # Its producer is closed next, so what aiokafka does with the record then has no effect.
        acknowledgement.add_done_callback(lambda one: one.cancelled() or one.exception())
        return late
    if acknowledgement.cancelled():
        return KafkaError("aiokafka cancelled the write")
    error = acknowledgement.exception()
    if error is None or isinstance(error, Exception):
        return error
    raise error


class BatchProducer:
    """Sends for tools, which stop at a failure and don't try for ever.

    An async context manager. Opening and `send` raise `aiokafka.errors.KafkaError`.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._producer: AIOKafkaProducer

    async def __aenter__(self) -> BatchProducer:
        self._producer = await self._connection.started_producer(
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=5,
            max_request_size=REQUEST_BYTES_MAX,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_producer(self._producer, STOP_SECONDS_MAX)

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Return when all are acknowledged. After an error it isn't known which records are.

        aiokafka itself waits for ever where the brokers have moved to other addresses.
        """
        seconds_max = self._connection.request_timeout_seconds + GRACE_SECONDS
        try:
            async with asyncio.timeout(seconds_max):
                acknowledgements = [
                    await self._producer.send(
                        one.topic, value=one.value, key=one.key, headers=one.headers
                    )
                    for one in records
                ]
                await asyncio.gather(*acknowledgements)
        except TimeoutError as error:
            raise KafkaTimeoutError(f"not acknowledged within {seconds_max:g} s") from error

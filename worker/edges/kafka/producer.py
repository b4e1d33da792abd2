"""Sends records and waits for their acknowledgements: for tools, which stop where they can't go on
and don't try for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from worker.edges.kafka.client import GRACE_SECONDS, STOP_SECONDS_MAX, KafkaConnection
from worker.edges.kafka.closing import close_producer
from worker.edges.kafka.writer import REQUEST_BYTES_MAX, Outgoing


class BatchProducer:
    """An async context manager. Opening and `send` raise `aiokafka.errors.KafkaError`."""

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
        """Return when all are acknowledged. After an error it isn't known which of them are.

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

"""Sending for tools, on virtual time."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaTimeoutError

from tests.unit.edges.kafka.test_writer import Connection, Producer
from verification.simulation import virtual_loop
from worker.edges.kafka.producer import BatchProducer, Outgoing


def test_a_tool_gives_up_where_nothing_is_acknowledged() -> None:
    async def main() -> float:
        record = Outgoing("dlq", None, b"value", [("__appmetrica.errors.offset", b"1")])
        async with BatchProducer(Connection(Producer(is_away=True))) as producer:
            with pytest.raises(KafkaTimeoutError, match="not acknowledged within 45 s"):
                await producer.send([record])
        return asyncio.get_running_loop().time()

    assert virtual_loop.run(main(), seconds_max=1000.0) < 60.0

"""The log while brokers are away: one line of the worker for each attempt, none of aiokafka."""

from __future__ import annotations

import asyncio
import json
import logging

from tests.readings import configured_log
from tests.source_reader import SourceReader
from worker.sandbox.kafka import free_ports

ATTEMPTS = 2
SECONDS_MAX = 60.0


class Attempts(logging.Handler):
    """What the worker logs about Kafka, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.events: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.events.put_nowait(record.getMessage())


async def test_brokers_that_are_away_are_one_line_at_each_attempt(root: logging.Logger) -> None:
    written, logs = configured_log(root)
    attempts = Attempts()
    root.addHandler(attempts)
    (port,) = free_ports(1)
    reader = SourceReader(f"127.0.0.1:{port}", "topic")
    source = asyncio.create_task(reader.run())
    try:
        async with asyncio.timeout(SECONDS_MAX):
            own = 0
            while own < ATTEMPTS:
                own += await attempts.events.get() == "kafka_not_reached"
    finally:
        source.cancel()
        await asyncio.wait([source])
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"] for line in found] == ["kafka_not_reached"] * ATTEMPTS
    assert all(f"127.0.0.1:{port}" in line["client_detail"] for line in found)
    assert logs.by_level == {"warning": ATTEMPTS}

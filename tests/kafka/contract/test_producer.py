"""The Python producer of the page, run as people run it, against real Kafka.

The others need toolchains of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest

from tests.builders import make_assignment, make_rules, now_at
from tests.unit.contract.files import PRODUCERS
from tests.unit.contract.judging import schema_takes
from worker.core.intake.intake import Intake
from worker.errors import UnavailableError
from worker.sandbox.topics import create_topics, read_all

TOPIC = "offline-events"


@pytest.fixture
async def topic(bootstrap_servers: str) -> str:
    """The topic that the producer writes to.

    A broker that is given from outside may have it already.
    """
    try:
        await create_topics(bootstrap_servers, {TOPIC: 4})
    except UnavailableError as error:
        assert "already exists" in str(error)
    return TOPIC


def send(bootstrap_servers: str) -> str:
    """Run the producer; returns what it prints."""
    sent = subprocess.run(
        [sys.executable, PRODUCERS / "producer.py"],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    return sent.stdout


async def test_what_the_python_producer_sends_is_in_order(
    bootstrap_servers: str, topic: str
) -> None:
    before = {(one.partition, one.offset) for one in await read_all(bootstrap_servers, topic)}
    for _ in range(2):
        output = await asyncio.to_thread(send, bootstrap_servers)
        assert output.startswith("written to partition ")
    records = [
        one
        for one in await read_all(bootstrap_servers, topic)
        if (one.partition, one.offset) not in before
    ]
    rules = make_rules(key_header="event-id")
    rows, rejections = Intake(rules).read(
        make_assignment(), records, now_at(unix_start=time.time())
    )
    assert not rejections, rejections[0].faults
    assert len({row.key for row in rows}) == len(rows) == 2, "each event has an id of its own"
    assert len({one.partition for one in records}) == 1, "one user, one partition"
    for one in records:
        assert one.value is not None
        assert schema_takes("events", one.value)
        assert json.loads(one.value)["profile_id"].encode() == one.key

"""The Python producers of the page, run as people run them, against real Kafka.

The others need toolchains of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest
from aiokafka import ConsumerRecord

from tests.builders import make_assignment, make_rules, now_at
from tests.unit.contract.files import PRODUCERS
from tests.unit.contract.judging import schema_takes
from worker.core.intake.intake import Intake
from worker.errors import UnavailableError
from worker.sandbox.topics import create_topics, read_all

TOPIC = "offline-events"
Places = set[tuple[int, int]]
TOPICS = (TOPIC, "purchases", "ad-revenue", "shop", "profiles")


@pytest.fixture
async def topics(bootstrap_servers: str) -> Mapping[str, Places]:
    """The topics that the producers write to, each with the places of the records it has already.

    A broker that is given from outside may have topics and records.
    """
    for name in TOPICS:
        try:
            await create_topics(bootstrap_servers, {name: 4})
        except UnavailableError as error:
            assert "already exists" in str(error)
    return {
        name: {(one.partition, one.offset) for one in await read_all(bootstrap_servers, name)}
        for name in TOPICS
    }


async def sent_to(
    bootstrap_servers: str, topic: str, before: Places
) -> list[ConsumerRecord[bytes, bytes]]:
    """The records of a topic that it didn't have before."""
    records = await read_all(bootstrap_servers, topic)
    return [one for one in records if (one.partition, one.offset) not in before]


def send(bootstrap_servers: str, program: str = "producer.py") -> str:
    """Run a producer; returns what it prints."""
    sent = subprocess.run(
        [sys.executable, PRODUCERS / program],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    return sent.stdout


async def test_what_the_python_producer_sends_is_in_order(
    bootstrap_servers: str, topics: Mapping[str, Places]
) -> None:
    for _ in range(2):
        output = await asyncio.to_thread(send, bootstrap_servers)
        assert output.startswith("written to partition ")
    records = await sent_to(bootstrap_servers, TOPIC, topics[TOPIC])
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


async def test_the_producer_of_all_resources_keeps_the_order_of_a_profile(
    bootstrap_servers: str, topics: Mapping[str, Places]
) -> None:
    output = await asyncio.to_thread(send, bootstrap_servers, "all_resources.py")
    assert len(output.splitlines()) == 7
    sent = {name: await sent_to(bootstrap_servers, name, before) for name, before in topics.items()}
    assert [len(records) for records in sent.values()] == [1, 1, 1, 2, 2]
    assert sent[TOPIC][0].key == b"18446744073709551615"
    profiles = sent["profiles"]
    levels = [json.loads(one.value or b"")["attributes"]["loyalty"] for one in profiles]
    assert levels == ["silver", "gold"], "in the order of the partition"
    assert len({one.key for one in profiles}) == 1
    ids = [one.headers for records in sent.values() for one in records]
    assert len(set(map(str, ids))) == 7, "each record has an id of its own"

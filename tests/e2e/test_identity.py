"""What counts as a repetition of what producers really send, on real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.stage import Stage, event, on_stage
from worker.sandbox.topics import create_topics, read_all, started

Sent = tuple[bytes, list[tuple[str, bytes]]]


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("identity"), tmp_path) as stage:
        await create_topics(bootstrap_servers, {f"{stage.topic}.parked": 2})
        yield stage


async def delivered(stage: Stage, *records: Sent, rows: int, **route: Any) -> dict[str, Any]:
    """Publish records in one partition, wait for their rows; returns the account of the topic."""
    worker = await stage.start_worker({"routes": [{"topic": stage.topic} | route]})
    producer = AIOKafkaProducer(bootstrap_servers=stage.bootstrap_servers, acks="all")
    async with started(producer):
        for value, headers in records:
            await producer.send_and_wait(stage.topic, value, partition=0, headers=headers)
    await stage.await_rows(rows)
    await stage.await_settled()
    assert stage.emulator.ledger.rows_total == rows
    status: dict[str, Any] = (await worker.status())["topics"][stage.topic]
    return status


def profile(**attributes: Any) -> bytes:
    return orjson.dumps({"application_id": 1111, "profile_id": "u", "attributes": attributes})


async def test_profiles_that_repeat_a_value_are_delivered_each_time(stage: Stage) -> None:
    states: list[Sent] = [(profile(subscribed=on), []) for on in (True, False, True)]
    visits: list[Sent] = [(profile(visits=1), [])] * 3
    account = await delivered(stage, *states, *visits, rows=6, resource="profiles")
    assert account["duplicates"] == 0


async def test_event_id_is_the_key_without_a_setting_and_duplicates_are_counted_apart(
    stage: Stage,
) -> None:
    keyed: list[Sent] = [
        (event(1), [("Event-Id", b"a")]),
        (event(2), [("event-id", b"a")]),
        (event(2), [("event-id", b"b")]),
    ]
    bare: list[Sent] = [(event(3), [])] * 2
    account = await delivered(stage, *keyed, *bare, rows=3)
    assert (account["duplicates"], account["duplicates_by_content"]) == (2, 1)
    assert account["without_key"] == {}


async def test_a_key_through_a_column_and_records_without_it_that_are_rejected(
    stage: Stage,
) -> None:
    keyless = orjson.dumps(orjson.loads(event(2)) | {"event_json": {}})
    records: list[Sent] = [(event(1), []), (event(1, "film_paused"), []), (keyless, [])]
    dedup = {"key_field": "$.event_json.event_number", "without_key": "reject"}
    account = await delivered(stage, *records, rows=1, dedup=dedup)
    assert account["without_key"] == {"missing": 1}
    (dead_letter,) = await read_all(stage.bootstrap_servers, stage.dead_letter_topic)
    assert dict(dead_letter.headers)["__appmetrica.errors.reason"] == b"missing"

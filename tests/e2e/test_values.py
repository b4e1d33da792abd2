"""Values as producers write them, on real Kafka: what arrives at the API is what they mean."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.stage import Stage, on_stage
from worker.sandbox.topics import create_topics, read_all

NOW = int(time.time())
EVENT = {"application_id": 1111, "profile_id": "u", "event_name": "e"}


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("values"), tmp_path) as stage:
        await create_topics(bootstrap_servers, {f"{stage.topic}.parked": 1})
        yield stage


def route(stage: Stage, **settings: Any) -> dict[str, Any]:
    return {"routes": [{"topic": stage.topic, **settings}]}


async def send(stage: Stage, values: dict[str, bytes], written: int | None = None) -> None:
    """Write records, each with its name as its key; `written` in Unix milliseconds."""
    producer = AIOKafkaProducer(bootstrap_servers=stage.bootstrap_servers, acks="all")
    await producer.start()
    try:
        for name, value in values.items():
            await producer.send_and_wait(
                stage.topic, value, key=name.encode(), timestamp_ms=written
            )
    finally:
        await producer.stop()


async def refused(stage: Stage) -> dict[str, list[tuple[str, str]]]:
    """The reason and the field of each fault, by the name of the record."""
    found = {}
    for record in await read_all(stage.bootstrap_servers, stage.dead_letter_topic):
        faults = json.loads(dict(record.headers)["__appmetrica.errors.detail"])
        assert record.key is not None
        found[record.key.decode()] = [(fault["reason"], fault["field"]) for fault in faults]
    return found


def timed(name: str, text: str) -> bytes:
    """An event whose time, in the second element of an array, is this JSON."""
    head = json.dumps(EVENT | {"event_name": name})[:-1]
    return f'{head},"at":[0,{text}]}}'.encode()


async def test_a_time_in_any_unit_arrives_as_the_second_it_is_in(stage: Stage) -> None:
    calendar = datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    texts = {
        "seconds": f"{NOW}",
        "float as text": f'"{NOW}.999999999"',
        "milliseconds": f"{NOW}999",
        "microseconds as text": f'"{NOW}999999"',
        "nanoseconds": f"{NOW}999999999",
        "ISO 8601": f'"{calendar}.999999999Z"',
        "ISO 8601 of PHP": f'"{calendar}+0000"',
    }
    values = {name: timed(name, text) for name, text in texts.items()}
    faulty = {
        "no unit": timed("no unit", "99999999"),
        "no offset": timed("no offset", f'"{calendar}"'),
        "too old": timed("too old", "1600000000000"),
    }
    absent = {"null": timed("null", "null"), "absent": json.dumps(EVENT | {"at": []}).encode()}
    absent["absent"] = absent["absent"].replace(b'"e"', b'"absent"')
    time = {"field": "$.at[1]", "unit": "auto", "default": "record"}
    await stage.start_worker(route(stage, time=time, unknown_fields="ignore"))
    await send(stage, values | faulty)
    await send(stage, absent, written=(NOW - 60) * 1000 + 999)
    await stage.await_rows(len(values) + len(absent))
    await stage.await_settled()
    arrived = {}
    for row in stage.emulator.ledger.rows:
        cells = dict(zip(row.columns, row.cells, strict=True))
        arrived[cells["event_name"]] = cells["event_timestamp"]
    assert arrived == dict.fromkeys(values, str(NOW)) | dict.fromkeys(absent, str(NOW - 60))
    assert await refused(stage) == {
        "no unit": [("out_of_range", "at[1]")],
        "no offset": [("wrong_type", "at[1]")],
        "too old": [("too_old", "at[1]")],
    }


async def test_parked_records_keep_the_time_at_which_they_were_written(stage: Stage) -> None:
    """The copy in the parking topic is written later, and has a time of its own."""
    count = 300
    events = {f"e{number}": EVENT | {"event_name": f"e{number}"} for number in range(count)}
    stage.emulator.set_keys({})
    worker = await stage.start_worker(
        route(stage, time={"default": "record"})
        | {
            "delivery": {"hold_probe_seconds": 1},
            "limits": {"span_records_max": 100},
            "batching": {"rows_max": 50},
        }
    )
    written = {name: json.dumps(event).encode() for name, event in events.items()}
    await send(stage, written, written=(NOW - 3600) * 1000)
    await stage.await_settled()
    assert (await worker.status())["topics"][stage.topic]["parked"] == count
    stage.emulator.set_keys({1111: "key-of-the-first-application-7f3a"})
    await stage.await_rows(count)
    times = {
        dict(zip(row.columns, row.cells, strict=True))["event_timestamp"]
        for row in stage.emulator.ledger.rows
    }
    assert times == {str(NOW - 3600)}

"""Values as producers write them, on real Kafka: what arrives at the API is what they mean."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.stage import KEYS, SETTLE_SECONDS_MAX, Stage, on_stage
from worker.sandbox.processes import WorkerProcess
from worker.sandbox.topics import create_topics, read_all, started

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


async def send(
    stage: Stage,
    values: dict[str, bytes],
    written: int | None = None,
    headers: dict[str, str] | None = None,
) -> None:
    """Write records, each with its name as its key; `written` in Unix milliseconds."""
    producer = AIOKafkaProducer(bootstrap_servers=stage.bootstrap_servers, acks="all")
    async with started(producer):
        sent = [
            await producer.send(
                stage.topic,
                value,
                key=name.encode(),
                timestamp_ms=written,
                headers=[(header, text.encode()) for header, text in (headers or {}).items()],
            )
            for name, value in values.items()
        ]
        await asyncio.gather(*sent)


def arrived(stage: Stage) -> list[dict[str, str]]:
    """The cells of the delivered rows that are not empty."""
    return [
        {name: cell for name, cell in zip(row.columns, row.cells, strict=True) if cell}
        for row in stage.emulator.ledger.rows
    ]


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
    times = {cells["event_name"]: cells["event_timestamp"] for cells in arrived(stage)}
    assert times == dict.fromkeys(values, str(NOW)) | dict.fromkeys(absent, str(NOW - 60))
    assert await refused(stage) == {
        "no unit": [("out_of_range", "at[1]")],
        "no offset": [("wrong_type", "at[1]")],
        "too old": [("too_old", "at[1]")],
    }


async def test_parked_records_keep_the_time_at_which_they_were_written(stage: Stage) -> None:
    """The copy in the parking topic is written later, and has a time of its own."""
    count = 3000
    stage.emulator.set_keys({})
    worker = await stage.start_worker(
        route(stage, time={"default": "record"})
        | {
            "delivery": {"hold_probe_seconds": 1},
            "limits": {"span_records_max": 100},
            "batching": {"rows_max": 50},
        }
    )
    events = {f"e{number}": EVENT | {"event_name": f"e{number}"} for number in range(count)}
    written = {name: json.dumps(event).encode() for name, event in events.items()}
    await send(stage, written, written=(NOW - 3600) * 1000)
    await await_parked(stage, worker, count // 2)
    stage.emulator.set_keys(KEYS)
    await stage.await_rows(count)
    assert {cells["event_timestamp"] for cells in arrived(stage)} == {str(NOW - 3600)}


async def await_parked(stage: Stage, worker: WorkerProcess, count: int) -> None:
    """Wait until the worker has parked this number of records."""
    for _ in range(round(SETTLE_SECONDS_MAX / 0.25)):
        if (await worker.status())["topics"][stage.topic]["parked"] >= count:
            return
        await asyncio.sleep(0.25)
    raise TimeoutError(f"fewer than {count} records were parked")


REVENUE = {
    "application_id": 1111,
    "profile_id": 42,
    "event_timestamp": NOW,
    "revenue_event_type": "refund",
    "currency": "RUB",
    "product_id": 7,
}
# What producers write, and what the API gets: the types of its pages.
TYPES: dict[str, tuple[str, str]] = {
    "price": ("1e-7", "0.0000001"),
    "quantity": ("2.0", "2"),
    "payload": ("[]", "{}"),
    "transaction_id": ("1000000123456789", "1000000123456789"),
    "order_id": ("18446744073709551616", "18446744073709551616"),
    "os_version": ("14", "14"),
    "mcc": ("65535", "65535"),
    "mnc": ("-1", "-1"),
    "device_type": ('"unknown"', "unknown"),
    "account_id": ("5", "5"),
    "device_ipv6": ('"1.2.3.4"', "::ffff:1.2.3.4"),
}


def revenue(**texts: str) -> bytes:
    """A record of revenue with these values, each as JSON."""
    fields = "".join(f',"{name}":{text}' for name, text in texts.items())
    return f"{json.dumps(REVENUE)[:-1]}{fields}}}".encode()


async def test_values_arrive_in_the_types_of_the_api(stage: Stage) -> None:
    texts = {name: text for name, (text, _) in TYPES.items()}
    faulty = {"os_version": "14.0", "quantity": "2.5", "payload": "[1]", "appmetrica": "1"}
    await stage.start_worker(route(stage, resource="revenue"))
    await send(stage, {"all": revenue(**texts), "faults": revenue(price="1", **faulty)})
    await stage.await_rows(1)
    await stage.await_settled()
    expected = {name: cell for name, (_, cell) in TYPES.items()}
    assert arrived(stage) == [{name: str(value) for name, value in REVENUE.items()} | expected]
    assert await refused(stage) == {
        "faults": [
            ("wrong_type", "quantity"),
            ("wrong_type", "payload"),
            ("wrong_type", "os_version"),
            ("unknown_field", "appmetrica"),
        ]
    }


async def test_invalid_optional_values_are_dropped_and_counted(stage: Stage) -> None:
    fields = {"os_name": "$.device.os", "mcc": "$.device.mcc"}
    worker = await stage.start_worker(route(stage, invalid_optional="drop", fields=fields))
    dated = EVENT | {"event_timestamp": NOW}
    events: dict[str, dict[str, object]] = {
        "no object": {"device": "phone"},
        "bad value": {"device": {"os": "ios", "mcc": "x"}},
        "required": {"event_timestamp": "soon", "device": {"os": "ios"}},
        "identity": {"appmetrica_device_id": -1},
    }
    await send(
        stage,
        {
            name: json.dumps(dated | {"event_name": name} | more).encode()
            for name, more in events.items()
        },
    )
    await stage.await_rows(2)
    await stage.await_settled()
    common = {name: str(value) for name, value in dated.items()}
    assert sorted(arrived(stage), key=lambda cells: cells["event_name"]) == [
        common | {"event_name": "bad value", "os_name": "ios"},
        common | {"event_name": "no object"},
    ]
    assert await refused(stage) == {
        "required": [("wrong_type", "event_timestamp")],
        "identity": [("out_of_range", "appmetrica_device_id")],
    }
    drifts = (await worker.status())["topics"][stage.topic]["drifts"]
    dropped = {(one["event_name"], one["field"]) for one in drifts if one["change"] == "dropped"}
    assert dropped == {("no object", "device"), ("bad value", "device.mcc")}


async def test_messages_of_debeziums_outbox_are_events_with_types_of_their_own(
    stage: Stage,
) -> None:
    names = {"type_field": "eventType", "data_field": "payload", "types": {"Paid": "revenue"}}
    await stage.start_worker(
        route(
            stage,
            framing="connect",
            form="envelope",
            envelope=names,
            dedup={"key_header": "id"},
            tombstones="skip",
        )
    )
    payload = {"payload": revenue(price="1").decode(), "eventType": "Paid"}
    value = json.dumps({"schema": {"type": "struct", "fields": []}, "payload": payload}).encode()
    shipped = value.replace(b"Paid", b"Shipped")
    for identifier in ("4d47e190-0402-4048-bc2c-89dd54343cdc", "406c07f3"):
        await send(stage, {"first": value, "again": value}, headers={"id": identifier})
    await send(stage, {"shipped": shipped})
    await stage.await_rows(2)
    await stage.await_settled()
    assert len(arrived(stage)) == 2
    assert await refused(stage) == {"shipped": [("unknown_route", "eventType")]}

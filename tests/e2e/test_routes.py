"""Many topics on one worker, each with its own record shape, in both forms of request."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.stage import Stage, on_stage
from worker.sandbox.topics import create_topics, read_all, started

NOW = int(time.time())
SHOP = {
    "ecom_event_type": "PURCHASE",
    "order_id": "order-1",
    "product_name": 'A "film", 2 & more+',
    "cart_item_quantity": 1,
    "original_price_currency": "RUB",
    "original_price_value": "0.100000000000000000000000000001",
    "product_promo_codes": ["a", "b"],
}
COMMON = {"application_id": 1111, "profile_id": "user 7", "event_timestamp": NOW}


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("routes"), tmp_path) as stage:
        films, clouds = f"{stage.topic}-films", f"{stage.topic}-clouds"
        names = [
            films,
            clouds,
            f"{films}.dlq",
            *(f"{topic}.parked" for topic in (stage.topic, films, clouds)),
        ]
        await create_topics(bootstrap_servers, dict.fromkeys(names, 1))
        yield stage


def overrides(stage: Stage, **changes: Any) -> dict[str, Any]:
    films = {
        "topic": f"{stage.topic}-films",
        "constants": {"application_id": 2222, "device_type": "tv"},
        "fields": {"event_name": "$.name", "profile_id": "$.viewer.id", "event_timestamp": "$.at"},
        "unknown_fields": "ignore",
        "dedup": {"key_field": "$.viewer.event"},
        "dead_letter": {"topic": f"{stage.topic}-films.dlq"},
        "batching": {"rows_max": 2},
    }
    clouds = {"topic": f"{stage.topic}-clouds", "resource": "revenue", "form": "cloudevents"}
    return {"routes": [{"topic": stage.topic, "form": "envelope"}, films, clouds], **changes}


async def send(stage: Stage, suffix: str, *records: tuple[object, list[tuple[str, bytes]]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stage.bootstrap_servers, acks="all")
    async with started(producer):
        for value, headers in records:
            await producer.send_and_wait(
                stage.topic + suffix, json.dumps(value).encode(), headers=headers
            )


async def produce(stage: Stage) -> None:
    """Seven events that must arrive, each once, among repetitions and mistakes."""
    await send(
        stage,
        "",
        ({"type": "events", "data": COMMON | {"event_name": "e", "os_name": "tizen"}}, []),
        (
            {
                "type": "profiles",
                "data": {"application_id": 1111, "profile_id": "user 7", "attributes": {"a": 1}},
            },
            [],
        ),
        ({"type": "ecommerce", "data": COMMON | SHOP}, []),
        (
            {
                "type": "adrevenue",
                "data": COMMON | {"revenue": "0.0001", "currency": "USD", "ad_type": "banner"},
            },
            [],
        ),
        ({"type": "purchases", "data": {}}, []),
    )
    film = {
        "name": "film_watched",
        "viewer": {"id": "v", "event": 1, "age": 30},
        "at": NOW,
        "film": "Solaris",
    }
    again, other = film | {"name": "another"}, film | {"viewer": {"id": "w", "event": 2}}
    await send(stage, "-films", (film, []), (again, []), (other, []), ({"viewer": 5}, []))
    bought = {
        "application_id": 1111,
        "profile_id": "u",
        "revenue_event_type": "refund",
        "price": 1.5,
        "currency": "RUB",
    }
    attributes = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "time": "2026-01-01T00:00:00Z",
    }
    attributes["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
    headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    await send(
        stage,
        "-clouds",
        (bought | {"product_id": "p"}, headers),
        (
            attributes | {"data": bought | {"product_id": "of the same id"}},
            [("content-type", b"application/cloudevents+json")],
        ),
        (bought, headers[1:]),
    )


FORMS = {
    "body": {},
    "body of exact columns": {"batching": {"columns": "exact"}},
    "params": {"delivery": {"request": "params"}},
}


@pytest.mark.parametrize("changes", FORMS.values(), ids=FORMS)
async def test_every_route_delivers_its_records_in_every_form(
    stage: Stage, changes: dict[str, Any]
) -> None:
    worker = await stage.start_worker(overrides(stage, **changes))
    await produce(stage)
    await stage.await_rows(7)
    for suffix in ("", "-films", "-clouds"):
        await stage.await_settled(stage.topic + suffix)
    rows = stage.emulator.ledger.rows
    assert Counter(row.resource for row in rows) == {
        "events": 3,
        "profiles": 1,
        "ecommerce": 1,
        "adrevenue": 1,
        "revenue": 1,
    }
    cells = [dict(zip(row.columns, row.cells, strict=True)) for row in rows]
    (shop,) = [one for one, row in zip(cells, rows, strict=True) if row.resource == "ecommerce"]
    assert {name: text for name, text in shop.items() if text} == {
        **{name: str(value) for name, value in (COMMON | SHOP).items()},
        "product_promo_codes": "[a,b]",
    }
    films = [one for one in cells if one.get("device_type") == "tv"]
    assert {(one["application_id"], one["profile_id"], one["event_name"]) for one in films} == {
        ("2222", "v", "film_watched"),
        ("2222", "w", "film_watched"),
    }
    (refund,) = [one for one, row in zip(cells, rows, strict=True) if row.resource == "revenue"]
    assert (refund["event_timestamp"], refund["price"], refund["product_id"]) == (
        str(NOW),
        "1.5",
        "p",
    )
    if changes:
        assert all(text for one in cells for text in one.values()), "no cell is sent empty"
    await assert_dead_letters(stage)
    status = await worker.status()
    assert sum(topic["duplicates"] for topic in status["topics"].values()) == 2
    assert status["topics"][stage.topic]["unusual_values"] == {"os_name": 1}
    drifts = {
        (one["event_name"], one["field"])
        for one in status["topics"][f"{stage.topic}-films"]["drifts"]
    }
    assert {("film_watched", "film"), ("film_watched", "viewer.age")} <= drifts


async def assert_dead_letters(stage: Stage) -> None:
    origins = {}
    for topic in (stage.dead_letter_topic, f"{stage.topic}-films.dlq"):
        for record in await read_all(stage.bootstrap_servers, topic):
            headers = dict(record.headers)
            faults = json.loads(headers["__appmetrica.errors.detail"])
            origins[headers["__appmetrica.errors.topic"].decode()] = [
                (fault["reason"], fault["field"]) for fault in faults
            ]
    assert origins == {
        stage.topic: [("unknown_route", "type")],
        f"{stage.topic}-films": [
            ("wrong_type", "viewer"),
            ("missing", "name"),
            ("missing", "at"),
            ("missing", "viewer.id"),
        ],
        f"{stage.topic}-clouds": [("missing", "ce_specversion"), ("missing", "product_id")],
    }

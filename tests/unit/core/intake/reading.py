"""Reads single records through an intake; and events of a producer with names of its own."""

from __future__ import annotations

import json
from typing import Any

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_event,
    make_rules,
    now_at,
    parse_csv,
)
from worker.core.intake.intake import Intake
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.row import Row
from worker.core.post_api.resource import EVENTS

# By resource, a valid record with little more than what is required.
BASES: dict[str, dict[str, object]] = {
    "events": make_event(),
    "adrevenue": {
        "application_id": 1111,
        "profile_id": "u",
        "event_timestamp": UNIX_SECONDS,
        "revenue": 1,
        "currency": "RUB",
        "ad_type": "banner",
    },
    "revenue": {
        "application_id": 1111,
        "profile_id": "u",
        "revenue_event_type": "refund",
        "event_timestamp": UNIX_SECONDS,
        "price": 1,
        "currency": "RUB",
        "product_id": "p",
    },
    "ecommerce": {
        "application_id": 1111,
        "profile_id": "u",
        "event_timestamp": UNIX_SECONDS,
        "ecom_event_type": "PURCHASE",
        "order_id": "o",
        "product_name": "n",
        "cart_item_quantity": 1,
        "original_price_currency": "RUB",
        "original_price_value": 1,
    },
    "profiles": {"application_id": 1111, "profile_id": "u", "attributes": {}},
}
# The fields of a route for `foreign` events.
NESTED = {
    "fields": {
        "event_name": ("name",),
        "profile_id": ("user", "id"),
        "os_name": ("user", "device", "os"),
    }
}


def read(record: FakeRecord, **rules: Any) -> Row | Rejection:
    """What becomes of one record."""
    rows, rejections = Intake(make_rules(**rules)).read(make_assignment(), [record], now_at())
    assert len(rows) + len(rejections) == 1
    return rows[0] if rows else rejections[0]


def row_of(value: bytes | None, **rules: Any) -> Row:
    """The row of a value that must be valid."""
    entry = read(FakeRecord(7, value), **rules)
    assert isinstance(entry, Row), entry
    return entry


def faults_of(value: bytes | None, **rules: Any) -> tuple[FieldFault, ...]:
    """The faults of a value that must be invalid."""
    entry = read(FakeRecord(7, value), **rules)
    assert isinstance(entry, Rejection), entry
    return entry.faults


def codes_of(value: bytes | None, **rules: Any) -> list[tuple[Reason, str]]:
    """The reason and the field of every fault, in order."""
    return [(fault.reason, fault.field) for fault in faults_of(value, **rules)]


def cells_of(row: Row) -> dict[str, str]:
    """The cells of a row's one line by column name, read back by a strict CSV reader."""
    (cells,) = parse_csv(row.line)
    return dict(zip(EVENTS.header(row.destination.identity), cells, strict=True))


def dumps(value: object) -> bytes:
    return json.dumps(value).encode()


def foreign(**changes: Any) -> dict[str, Any]:
    """An event that `NESTED` maps; `...` leaves a field out."""
    event = {
        "application_id": 1111,
        "name": "purchase",
        "event_timestamp": UNIX_SECONDS,
        "user": {"id": "user-1", "device": {"os": "ios"}},
    }
    return {name: value for name, value in (event | changes).items() if value is not ...}

"""The selection of a route: what is an event, what is skipped, and what must be dead-lettered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders import FakeRecord, make_assignment, make_rules, make_value, now_at
from worker.core.intake.intake import Intake
from worker.core.intake.rules import Condition, Form, Framing, Selected, Tombstones
from worker.core.model.fault import Reason
from worker.core.model.record import SkipReason

TYPES: tuple[Selected, ...] = ("film_watched", "purchase")


def ending(record: FakeRecord, **rules: Any) -> SkipReason | Reason | str:
    """What becomes of one record: a reason to skip it, a reason to reject it, or "delivered"."""
    intake = Intake(make_rules(**rules))
    selected, skipped = intake.select([record])
    assert len(selected) + len(skipped) == 1
    if skipped:
        assert skipped[0].record is record
        return skipped[0].reason
    rows, rejections = intake.read(make_assignment(), selected, now_at())
    return "delivered" if rows else rejections[0].reason


def by_path(*values: Selected, path: tuple[str | int, ...] = ("event_name",)) -> tuple[Condition]:
    return (Condition(path, values),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(make_value(), "delivered", id="one of the values"),
        pytest.param(make_value(event_name="other"), SkipReason.NOT_SELECTED, id="another value"),
        pytest.param(make_value(event_name=...), SkipReason.NOT_SELECTED, id="no such field"),
        pytest.param(make_value(event_name=None), SkipReason.NOT_SELECTED, id="a null"),
        pytest.param(
            make_value(event_name=["purchase"]), SkipReason.NOT_SELECTED, id="an array of it"
        ),
        pytest.param(make_value(event_name=1), SkipReason.NOT_SELECTED, id="another type"),
        pytest.param(b"not json", Reason.NOT_JSON, id="no JSON"),
        pytest.param(b"", Reason.EMPTY_VALUE, id="an empty value"),
        pytest.param(None, Reason.EMPTY_VALUE, id="a tombstone"),
        pytest.param(make_value(mcc="x"), Reason.WRONG_TYPE, id="selected and wrong"),
        pytest.param(
            make_value(mcc="x", event_name="other"), SkipReason.NOT_SELECTED, id="not ours, wrong"
        ),
        pytest.param(b"\xef\xbb\xbf" + make_value(), "delivered", id="a byte order mark before it"),
    ],
)
def test_records_are_selected_by_a_value(value: bytes | None, expected: str | Reason) -> None:
    assert ending(FakeRecord(0, value), select=by_path(*TYPES)) == expected


def test_integers_and_booleans_are_values_too_and_one_is_not_true() -> None:
    path = ("meta", "flags", 1)
    value = make_value(event_name="x")[:-1] + b', "meta": {"flags": [0, true]}}'
    assert ending(FakeRecord(0, value), select=by_path(1, path=path)) is SkipReason.NOT_SELECTED
    selected = ending(FakeRecord(0, value), select=by_path(True, path=path))
    assert selected is Reason.UNKNOWN_FIELD
    short = make_value()[:-1] + b', "meta": {"flags": [0]}}'
    assert ending(FakeRecord(0, short), select=by_path(True, path=path)) is SkipReason.NOT_SELECTED


@pytest.mark.parametrize("meta", ['"text"', "[]", "5", "null"])
def test_a_path_through_something_else_leads_to_nothing(meta: str) -> None:
    value = make_value()[:-1] + b', "meta": %s}' % meta.encode()
    condition = by_path("a", path=("meta", "type"))
    assert ending(FakeRecord(0, value), select=condition) is SkipReason.NOT_SELECTED


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([("eventType", b"purchase")], "delivered", id="one of the values"),
        pytest.param([("EVENTTYPE", b"purchase")], "delivered", id="in another case"),
        pytest.param([("eventType", b"other")], SkipReason.NOT_SELECTED, id="another value"),
        pytest.param([], SkipReason.NOT_SELECTED, id="no header"),
        pytest.param([("eventType", None)], SkipReason.NOT_SELECTED, id="a null header"),
        pytest.param(
            [("eventType", b"purchase"), ("eventType", b"other")],
            SkipReason.NOT_SELECTED,
            id="the last of several counts",
        ),
    ],
)
def test_records_are_selected_by_a_header(
    headers: list[tuple[str, bytes | None]], expected: str
) -> None:
    record = FakeRecord(0, make_value(), headers=headers)
    assert ending(record, select=(Condition("eventtype", TYPES),)) == expected


def test_all_conditions_must_hold() -> None:
    select = (Condition("source", ("shop",)), *by_path(*TYPES))
    both = FakeRecord(0, make_value(), headers=[("source", b"shop")])
    assert ending(both, select=select) == "delivered"
    assert ending(FakeRecord(0, make_value()), select=select) is SkipReason.NOT_SELECTED
    other = FakeRecord(0, make_value(event_name="other"), headers=[("source", b"shop")])
    assert ending(other, select=select) is SkipReason.NOT_SELECTED


@pytest.mark.parametrize("select", [(), by_path(*TYPES)])
def test_tombstones_are_skipped_where_the_route_says_so(select: tuple[Condition, ...]) -> None:
    rules = {"select": select, "tombstones": Tombstones.SKIP}
    assert ending(FakeRecord(0, None), **rules) is SkipReason.TOMBSTONE
    assert ending(FakeRecord(0, b""), **rules) is Reason.EMPTY_VALUE
    assert ending(FakeRecord(0, make_value()), **rules) == "delivered"


def test_the_type_of_an_envelope_or_a_framed_value_selects() -> None:
    select = by_path("events", path=("type",))
    envelope = json.dumps({"type": "events", "data": json.loads(make_value())}).encode()
    other = json.dumps({"type": "stock", "data": {}}).encode()
    rules: dict[str, Any] = {"select": select, "form": Form.ENVELOPE}
    assert ending(FakeRecord(0, envelope), **rules) == "delivered"
    assert ending(FakeRecord(0, other), **rules) is SkipReason.NOT_SELECTED
    framed: dict[str, Any] = rules | {"framing": Framing.CONFLUENT}
    assert ending(FakeRecord(0, b"\0\0\0\0\7" + envelope), **framed) == "delivered"
    assert ending(FakeRecord(0, b"\0\0\0\0\7" + other), **framed) is SkipReason.NOT_SELECTED
    assert ending(FakeRecord(0, other), **framed) is Reason.NOT_JSON


def test_a_value_that_is_too_large_is_not_read_to_be_selected() -> None:
    value = make_value(event_name="other", event_json={"x": "y" * 2_000_000})
    rules: dict[str, Any] = {"select": by_path(*TYPES), "row_bytes_max": 1000}
    assert ending(FakeRecord(0, value), **rules) is Reason.TOO_LARGE


def test_what_is_read_again_is_what_is_selected() -> None:
    intake = Intake(make_rules(select=by_path(*TYPES), tombstones=Tombstones.SKIP))
    records = [FakeRecord(0, make_value(event_name="x")), FakeRecord(1, make_value())]
    rows = intake.read_again(make_assignment(), [*records, FakeRecord(2, None)], now_at())
    assert [row.record.offset for row in rows] == [1]

"""Values that cost as much as they can: one record's share of the loop and of messages is bounded.

Measured in units of `tests.yardstick`: CPU time against that of a fixed piece of work; a slower
machine changes nothing. The bound is that of invariant 7; the values are as large as intake
accepts: whatever is larger is refused by its size alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import pytest

from tests.builders import FakeRecord, make_assignment, make_event, make_rules, make_value, now_at
from tests.unit.core.intake.reading import faults_of
from tests.yardstick import STALL_UNITS_MAX, units
from worker.core.intake.intake import VALUE_EXTRA_BYTES_MAX, Intake
from worker.core.intake.rules import Form
from worker.core.model.fault import Reason, Rejection
from worker.core.model.row import Row

ROW_BYTES_MAX = 8 * 1024 * 1024
SIZE = 8_900_000


@cache
def _fields(count: int) -> bytes:
    """An object of this many fields; made where it is used, not by whoever reads this module."""
    return b"{" + b",".join([b'"%x":1' % number for number in range(count)]) + b"}"


COSTLY: dict[str, Callable[[], bytes]] = {
    "a long string": lambda: make_value(event_name="x" * SIZE),
    "a long string of two-byte characters": lambda: json.dumps(
        make_event(mcc="я" * (SIZE // 2)), ensure_ascii=False
    ).encode(),
    "a string that is quoted twice over": lambda: make_value(event_name='"' * (SIZE // 2 - 1000)),
    "a field with a long name": lambda: make_value(**{"x" * SIZE: 1}),
    "many unknown fields": lambda: make_value(
        **{f"unknown_{number}": 1 for number in range(SIZE // 25)}
    ),
    "as many unknown fields as there is room for": lambda: _fields(SIZE // 10),
    "as many unknown fields as are looked at": lambda: _fields(30_000),
    "a megabyte of unknown fields": lambda: _fields(110_000),
    "one field over and over": lambda: (
        b"{" + b",".join([b'"application_id":1111'] * (SIZE // 23)) + b"}"
    ),
    "an array of empty arrays": lambda: (
        b'{"event_name":[' + b",".join([b"[]"] * (SIZE // 3)) + b"]}"
    ),
    "an address of colons": lambda: make_value(device_ipv6=":" * SIZE),
    "an address of dots": lambda: make_value(device_ipv6="1." * (SIZE // 2)),
    "an integer of many digits": lambda: make_value(mcc=...)[:-1] + b',"mcc":' + b"9" * SIZE + b"}",
    "an exponent of many digits": lambda: (
        make_value(mcc=...)[:-1] + b',"mcc":1e' + b"9" * SIZE + b"}"
    ),
    "nested too deep": lambda: b'{"event_json":' + b"[" * SIZE,
    "a text that should hold an object": lambda: make_value(event_json="{" + "x" * SIZE),
}


def read_one(value: bytes, form: Form = Form.JSON) -> tuple[Row | Rejection, float]:
    """What becomes of the value, and what that costs in units."""
    intake = Intake(make_rules(row_bytes_max=ROW_BYTES_MAX, form=form))
    entries: list[Row | Rejection] = []

    def read() -> None:
        rows, rejections = intake.read(make_assignment(), [FakeRecord(0, value)], now_at())
        entries[:] = [*rows, *rejections]

    cost = units(read)
    (entry,) = entries
    return entry, cost


@pytest.mark.parametrize("value", COSTLY.values(), ids=COSTLY)
def test_no_value_holds_the_loop_up_for_long(value: Callable[[], bytes]) -> None:
    made = value()
    assert len(made) <= ROW_BYTES_MAX + VALUE_EXTRA_BYTES_MAX
    entry, cost = read_one(made)
    assert cost < STALL_UNITS_MAX
    if isinstance(entry, Rejection):
        assert sum(len(fault.field) + len(fault.message) for fault in entry.faults) < 10_000


WRAPPED: dict[str, Callable[[], bytes]] = {
    "fields beside the wrapping": lambda: _fields(SIZE // 10),
    "as many of them as are looked at": lambda: _fields(25_000),
    "an event of fields": lambda: b'{"type":"events","data":' + _fields(SIZE // 10) + b"}",
    "data of base64": lambda: b'{"data_base64":"' + b"A" * (SIZE // 4 * 4) + b'"}',
    "a long type": lambda: b'{"type":"' + b"x" * SIZE + b'","data":{}}',
}


@pytest.mark.parametrize("form", [Form.ENVELOPE, Form.CLOUDEVENTS])
@pytest.mark.parametrize("value", WRAPPED.values(), ids=WRAPPED)
def test_no_wrapped_value_holds_the_loop_up_for_long(
    value: Callable[[], bytes], form: Form
) -> None:
    entry, cost = read_one(value(), form)
    assert isinstance(entry, Rejection)
    assert cost < STALL_UNITS_MAX
    assert sum(len(fault.field) + len(fault.message) for fault in entry.faults) < 10_000


def test_a_value_too_large_for_any_request_is_refused_without_a_look_at_it() -> None:
    entry, cost = read_one(b"[" + b"[]," * ((ROW_BYTES_MAX + VALUE_EXTRA_BYTES_MAX) // 3 + 1))
    assert isinstance(entry, Rejection)
    assert entry.reason is Reason.TOO_LARGE
    assert cost < STALL_UNITS_MAX / 20


def test_a_chunk_of_records_with_one_new_field_costs_no_more_than_others() -> None:
    # A producer that adds a field adds it to every record: 1,000 looks for what it may mean would
    # take 150 ms.
    intake = Intake(make_rules())
    records = [FakeRecord(number, make_value(evnt_name=number)) for number in range(1000)]
    _, rejections = intake.read(make_assignment(), records, now_at())
    assert units(lambda: intake.read(make_assignment(), records, now_at())) < STALL_UNITS_MAX
    assert {str(one.faults[0]) for one in rejections} == {
        "evnt_name: not a parameter of events; did you mean event_name?"
    }


def test_of_many_unknown_fields_the_first_are_named_and_the_others_counted() -> None:
    faults = faults_of(make_value(**{f"unknown_{number}": 1 for number in range(300)}))
    assert [fault.field for fault in faults] == [f"unknown_{number}" for number in range(50)] + [""]
    assert str(faults[-1]) == "and 250 more fields that are not parameters of events"


@pytest.mark.parametrize(("value", "what"), [([[1]], "an array"), ({"a": 1}, "an object")])
def test_an_array_or_an_object_where_a_text_belongs_is_called_what_it_is(
    value: object, what: str
) -> None:
    (fault,) = faults_of(make_value(event_name=value))
    assert str(fault) == f"event_name: expected a string, found {what}"

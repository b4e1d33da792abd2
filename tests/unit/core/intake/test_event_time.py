"""The time of an event in the unit of its route: exact to the second, rounded down."""

from __future__ import annotations

import json
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_event,
    make_rules,
    make_value,
    now_at,
)
from tests.searches import examples
from tests.unit.core.intake.reading import codes_of, faults_of, row_of
from worker.core.intake.event_time import PLAIN_FROM, PLAIN_UNTIL, rfc_3339_seconds
from worker.core.intake.explain import Cells, explain
from worker.core.intake.intake import ANY_TIME, Intake
from worker.core.intake.rules import IntakeRules, RecordTime, TimeDefault, TimeUnit
from worker.core.model.fault import Reason

SECONDS, AUTO, ISO = TimeUnit.SECONDS, TimeUnit.AUTO, TimeUnit.ISO8601
MILLISECONDS, NANOSECONDS = TimeUnit.MILLISECONDS, TimeUnit.NANOSECONDS
MICROSECONDS = TimeUnit.MICROSECONDS
PER_SECOND = {SECONDS: 1, MILLISECONDS: 10**3, MICROSECONDS: 10**6, NANOSECONDS: 10**9}
NOW = UNIX_SECONDS


def unit(unit: TimeUnit, **changes: Any) -> dict[str, Any]:
    return {"time": RecordTime(unit, **changes)}


def timed(text: str) -> bytes:
    """An event whose time is this JSON."""
    head = json.dumps(make_event(event_timestamp=...))[:-1]
    return f'{head},"event_timestamp":{text}}}'.encode()


@pytest.mark.parametrize(
    ("of", "text", "seconds"),
    [
        (MILLISECONDS, "1700000000000", NOW),
        (MILLISECONDS, "1700000000999", NOW),
        (MILLISECONDS, '"1700000000999"', NOW),
        (MILLISECONDS, '"0001700000000999"', NOW),
        (MILLISECONDS, "1700000000999.999", NOW),
        (MILLISECONDS, "1.700000000999e12", NOW),
        (MILLISECONDS, '"1.7E+12"', NOW),
        (MICROSECONDS, "1700000000999999", NOW),
        (MICROSECONDS, '"1700000000999999.5"', NOW),
        # As a float this is 1700000001 seconds.
        (NANOSECONDS, "1700000000999999999", NOW),
        (NANOSECONDS, '"1700000000999999999"', NOW),
        (SECONDS, "1700000000", NOW),
        (SECONDS, "1700000000.999999999999999999", NOW),
        (SECONDS, '"1700000000.5"', NOW),
        (SECONDS, "17000000005e-1", NOW),
        (ISO, '"2023-11-14T22:13:20Z"', NOW),
        (ISO, '"2023-11-14T22:13:20.999999999999Z"', NOW),
        (ISO, '"2023-11-14T22:13:20,5Z"', NOW),
        (ISO, '"2023-11-15T01:13:20.5+03:00"', NOW),
        (ISO, '"2023-11-15T01:13:20+0300"', NOW),
        (ISO, '"2023-11-15 01:13:20+03"', NOW),
        (ISO, '"2023-11-14t22:13:20z"', NOW),
        # Java's OffsetDateTime.
        (ISO, '"2023-11-14T22:13Z"', NOW - 20),
        (AUTO, "1700000000", NOW),
        (AUTO, "1700000000.5", NOW),
        (AUTO, "1700000000999", NOW),
        (AUTO, '"1700000000999999"', NOW),
        (AUTO, "1700000000999999999", NOW),
        (AUTO, '"2023-11-14T22:13:20Z"', NOW),
    ],
)
def test_a_time_is_exact_to_the_second_and_rounded_down(
    of: TimeUnit, text: str, seconds: int
) -> None:
    row = row_of(timed(text), **unit(of))
    assert row.event_timestamp == seconds
    assert row.line == row_of(make_value(event_timestamp=seconds)).line


@pytest.mark.parametrize(
    ("of", "text", "seconds"),
    [
        (MILLISECONDS, "-1", -1),
        (MILLISECONDS, "-1000", -1),
        (MILLISECONDS, "-1001", -2),
        (SECONDS, "-0.5", -1),
        (SECONDS, '"-0.000000000000000001"', -1),
        (SECONDS, "-0", 0),
        (NANOSECONDS, "-1e9", -1),
        (ISO, '"1969-12-31T23:59:59.5Z"', -1),
    ],
)
def test_a_time_before_1970_is_rounded_down_too(of: TimeUnit, text: str, seconds: int) -> None:
    (fault,) = faults_of(timed(text), **unit(of))
    assert fault.reason is Reason.TOO_OLD
    assert f"({NOW - seconds} s) old" in fault.message


@pytest.mark.parametrize("text", ["null", '""'])
@pytest.mark.parametrize("of", list(TimeUnit))
def test_an_event_without_a_time_is_refused_with_the_unit_of_its_route(
    of: TimeUnit, text: str
) -> None:
    for value in (timed(text), make_value(event_timestamp=...)):
        (fault,) = faults_of(value, **unit(of))
        assert (fault.reason, fault.field) == (Reason.MISSING, "event_timestamp")
        assert fault.message.startswith("required, ")
        assert fault.expected.startswith(
            {ISO: "an ISO 8601 time", AUTO: "Unix time in seconds, milliseconds"}.get(
                of, f"Unix time in {of}"
            )
        )


@pytest.mark.parametrize(
    ("of", "text", "reason", "message"),
    [
        (
            MILLISECONDS,
            "1700000000",
            Reason.MILLISECONDS,
            "1700000000 looks like seconds, but time.unit of the route is milliseconds",
        ),
        (
            MILLISECONDS,
            "1700000000000000",
            Reason.MILLISECONDS,
            "1700000000000000 looks like microseconds, but time.unit of the route is milliseconds",
        ),
        (
            SECONDS,
            "1700000000000000000",
            Reason.MILLISECONDS,
            "1700000000000000000 looks like nanoseconds, but time.unit of the route is seconds",
        ),
        (
            MILLISECONDS,
            '"2023-11-14T22:13:20Z"',
            Reason.WRONG_TYPE,
            "expected Unix time in milliseconds, found '2023-11-14T22:13:20Z'; "
            "set time.unit: iso8601 for the route",
        ),
        (
            ISO,
            '"2023-11-14T22:13:20"',
            Reason.WRONG_TYPE,
            "expected an ISO 8601 time with an offset, as in 2023-11-14T22:13:20Z, found "
            "'2023-11-14T22:13:20'; without an offset it could be any of a day's hours: add Z, or "
            "one such as +03:00",
        ),
        (
            ISO,
            "1700000000",
            Reason.WRONG_TYPE,
            "expected an ISO 8601 time with an offset, as in 2023-11-14T22:13:20Z, found "
            "'1700000000'",
        ),
        (
            MILLISECONDS,
            f"{(NOW - 1_209_605) * 1000}",
            Reason.TOO_OLD,
            f"{(NOW - 1_209_605) * 1000}, in Unix seconds {NOW - 1_209_605}, is 14 days "
            "(1209605 s) old; the limit is 14 days (1209600 s)",
        ),
        (
            SECONDS,
            f"{NOW - 1_339_999}",
            Reason.TOO_OLD,
            f"{NOW - 1_339_999} is 15.5 days (1339999 s) old; the limit is 14 days (1209600 s)",
        ),
        (
            ISO,
            '"2023-11-15T22:13:27Z"',
            Reason.IN_FUTURE,
            f"2023-11-15T22:13:27Z, in Unix seconds {NOW + 86_407}, is 7 s later than the latest "
            f"accepted time ({NOW + 86_400})",
        ),
        (
            AUTO,
            "99999999",
            Reason.OUT_OF_RANGE,
            "99999999 is a time between 1973 and 5138 in no unit, so its unit can't be known",
        ),
    ],
    ids=str,
)
def test_the_fault_of_a_time_says_what_is_wrong(
    of: TimeUnit, text: str, reason: Reason, message: str
) -> None:
    (fault,) = faults_of(timed(text), **unit(of))
    assert (fault.reason, fault.field, fault.message) == (reason, "event_timestamp", message)


@pytest.mark.parametrize(
    "text",
    [
        *("true", "[]", "{}", "[1700000000]", '"x"', '"+1700000000"', '" 1700000000"'),
        *('"1_700_000_000"', '"١٧٠٠٠٠٠٠٠٠"', '"1700000000."', '".5"', '"0x6553f100"', '"NaN"'),
        *('"1e400"', "1e999999999", '"2023-11-14"', '"2023-W46-2"', '"22:13:20Z"'),
        *('"2023-13-14T22:13:20Z"', '"2023-11-14T22:13:20+25:00"', '"0000-01-01T00:00:00Z"'),
        *('"20231114T221320Z"', f'"{"1" * 65}"', f'"2023-11-14T22:13:20.{"0" * 60}Z"'),
        '"2023-11-15T01:13:20+03:00[Europe/Moscow]"',
    ],
)
@pytest.mark.parametrize("of", list(TimeUnit))
def test_what_is_no_time_is_refused_in_every_unit(of: TimeUnit, text: str) -> None:
    assert codes_of(timed(text), **unit(of)) == [(Reason.WRONG_TYPE, "event_timestamp")]


def test_a_time_that_is_not_text_is_refused_without_its_bytes() -> None:
    for text in (b'"\xff"', b'"\\ud800"'):
        value = timed("0").replace(b":0}", b":" + text + b"}")
        (fault,) = faults_of(value, **unit(AUTO))
        assert fault.reason in (Reason.WRONG_TYPE, Reason.NOT_JSON)
        assert fault.message.isascii()


@pytest.mark.parametrize("of", list(PER_SECOND))
@pytest.mark.parametrize("seconds", [PLAIN_FROM, UNIX_SECONDS, PLAIN_UNTIL - 1])
def test_auto_takes_each_unit_from_1973_to_5138(of: TimeUnit, seconds: int) -> None:
    intake = Intake(make_rules(**unit(AUTO)))
    ends = (seconds * PER_SECOND[of], (seconds + 1) * PER_SECOND[of] - 1)
    for number in ends:
        (row,) = intake.read_again(make_assignment(), [FakeRecord(0, timed(str(number)))], now_at())
        assert row.event_timestamp == seconds


@pytest.mark.parametrize(
    "number", [0, 1, PLAIN_FROM - 1, -UNIX_SECONDS, PLAIN_UNTIL * 10**9, 10**30, 20231114]
)
def test_auto_refuses_a_number_that_is_such_a_time_in_no_unit(number: int) -> None:
    assert codes_of(timed(str(number)), **unit(AUTO)) == [(Reason.OUT_OF_RANGE, "event_timestamp")]


@examples(300)
@given(
    st.sampled_from(list(PER_SECOND)),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**10, places=12),
)
def test_a_number_is_the_floor_of_its_exact_quotient(of: TimeUnit, seconds: Decimal) -> None:
    exact = Context(prec=60)
    number = exact.multiply(seconds, Decimal(PER_SECOND[of]))
    floor = int(seconds.to_integral_value(ROUND_FLOOR))
    rules = make_rules(**unit(of))
    for text in (format(number, "f"), f'"{number:f}"', f"{number:e}"):
        if len(text) > 60:
            continue
        seen = explain(timed(text), rules, ANY_TIME)
        assert isinstance(seen, Cells), seen
        assert seen.texts["event_timestamp"] == str(floor)


def test_without_the_setting_a_time_is_unix_seconds_in_integers_as_before() -> None:
    assert row_of(timed("1700000000")).event_timestamp == NOW
    for text in ("1700000000.5", '"1700000000.0"', '"2023-11-14T22:13:20Z"'):
        assert codes_of(timed(text)) == [(Reason.WRONG_TYPE, "event_timestamp")]
    (fault,) = faults_of(timed("1700000000000000"))
    assert fault.message == (
        "1700000000000000 looks like microseconds; send Unix time in seconds: 1700000000"
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("at",), {"at": NOW * 1000 + 5}),
        (("meta", "times", 1), {"meta": {"times": [1, NOW * 1000 + 5]}}),
        (("a.b",), {"a.b": str(NOW * 1000 + 5)}),
        (("event_json", "at"), {"event_json": {"at": NOW * 1000 + 5, "x": 1}}),
    ],
    ids=str,
)
def test_the_time_may_be_anywhere_in_the_record(
    path: tuple[str | int, ...], value: dict[str, Any]
) -> None:
    rules = unit(MILLISECONDS) | {"fields": {"event_timestamp": path}}
    if path[0] == "meta":
        rules["unknown_fields"] = "ignore"
    row = row_of(make_value(event_timestamp=..., **value), **rules)
    assert row.event_timestamp == NOW
    wrong = json.dumps(make_event(event_timestamp=..., **value)).replace(
        str(NOW * 1000 + 5), "true"
    )
    codes = [code for code, _ in codes_of(wrong.encode().replace(b'"true"', b"true"), **rules)]
    assert codes == [Reason.WRONG_TYPE]


def test_a_key_of_the_field_of_the_time_is_the_value_as_the_record_has_it() -> None:
    rules = unit(MILLISECONDS) | {"key_fields": ("event_timestamp", "event_name")}
    first, again, other = (
        row_of(timed(text), **rules).key
        for text in ("1700000000001", '"1700000000001"', "1700000000002")
    )
    assert first == again != other


def assert_both_passes_agree(rules: IntakeRules, value: bytes) -> None:
    """The same event with a name repeated is left to the thorough pass."""
    intake = Intake(rules)
    slow = b'{"event_name":[],' + value[1:]
    ends = [intake.read(make_assignment(), [FakeRecord(0, one)], now_at()) for one in (value, slow)]
    (rows, rejections), (slow_rows, slow_rejections) = ends
    assert [row.line for row in rows] == [row.line for row in slow_rows]
    assert [one.faults for one in rejections] == [one.faults for one in slow_rejections]


@examples(200)
@given(
    st.sampled_from(list(TimeUnit)),
    st.sampled_from(list(TimeDefault)),
    st.integers(UNIX_SECONDS - 1_300_000, UNIX_SECONDS + 90_000),
    st.sampled_from(["{}", '"{}"', "{}.25", '"{}.99"', "{}e0", "{}000", "{}999999", "{}999999999"]),
)
def test_both_passes_read_the_same_time(
    of: TimeUnit, default: TimeDefault, seconds: int, form: str
) -> None:
    rules = make_rules(time=RecordTime(of, default))
    assert_both_passes_agree(rules, timed(form.format(seconds)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20.999999999Z", NOW),
        ("2023-11-14T22:13Z", None),
        ("2023-11-14T22:13:20+0300", None),
        ("2023-11-14T22:13:20,5Z", None),
    ],
)
def test_a_cloud_event_has_a_time_of_rfc_3339(text: str, seconds: int | None) -> None:
    assert rfc_3339_seconds(text) == seconds

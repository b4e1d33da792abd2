"""Decimals, arrays and attributes: exact, or refused with what was expected and found."""

from __future__ import annotations

import ipaddress
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_rules,
    now_at,
    parse_csv,
)
from tests.searches import examples
from tests.unit.core.intake.reading import BASES
from worker.core.intake.fields import check
from worker.core.intake.intake import Intake
from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import DECIMAL_CHARACTERS_MAX
from worker.core.post_api.resource import EVENTS, RESOURCES


def checked(resource: str, column: str, json_text: str) -> str | tuple[FieldFault, ...]:
    """The cell that a column's JSON becomes, or the faults."""
    base = {name: value for name, value in BASES[resource].items() if name != column}
    value = json.dumps(base)[:-1] + f",{json.dumps(column)}:{json_text}}}"
    intake = Intake(make_rules(resource=RESOURCES[resource]))
    rows, rejections = intake.read(make_assignment(), [FakeRecord(0, value.encode())], now_at())
    if rejections:
        return rejections[0].faults
    (cells,) = parse_csv(rows[0].line)
    return cells[RESOURCES[resource].header(rows[0].destination.identity).index(column)]


def code(resource: str, column: str, json_text: str) -> tuple[Reason, str]:
    faults = checked(resource, column, json_text)
    assert isinstance(faults, tuple), faults
    (fault,) = faults
    return fault.reason, fault.field


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0.0001",
        "1.05",
        "0.5",
        "299.990",
        "-3",
        "-0",
        "1234567890.123456789012345678901234567890",
    ],
)
@pytest.mark.parametrize("quoted", [False, True], ids=["number", "string"])
def test_a_decimal_keeps_its_text(text: str, quoted: bool) -> None:
    assert checked("revenue", "price", f'"{text}"' if quoted else text) == text


@pytest.mark.parametrize(
    ("resource", "column", "text", "cell"),
    [
        ("events", "profile_id", "42", "42"),
        ("events", "profile_id", "0", "0"),
        ("events", "profile_id", "-0", "0"),
        ("events", "profile_id", "1" * 5000, "1" * 5000),
        ("events", "event_name", "0", "0"),
        ("events", "os_version", "14", "14"),
        ("events", "app_version_name", "-5", "-5"),
        ("revenue", "transaction_id", str(2**64), str(2**64)),
        ("revenue", "order_id", "1000000123456789", "1000000123456789"),
        ("adrevenue", "ad_unit_id", "7", "7"),
        ("adrevenue", "ad_placement_id", "7", "7"),
        ("events", "application_id", "1111.0", "1111"),
        ("events", "event_timestamp", "1.7e9", str(UNIX_SECONDS)),
        ("events", "event_timestamp", "1700000000.000", str(UNIX_SECONDS)),
        ("events", "mcc", "250.0", "250"),
        ("events", "mcc", "1e3", "1000"),
        ("events", "mcc", "65535", "65535"),
        ("events", "mnc", "-1", "-1"),
        ("events", "mnc", '"-1"', "-1"),
        ("events", "mnc", "-0.0", "0"),
        ("revenue", "quantity", "18446744073709551615.0", "18446744073709551615"),
        ("events", "event_json", "[]", "{}"),
        ("events", "event_json", "[ ]", "{}"),
        ("events", "event_json", '"[]"', "{}"),
        ("profiles", "attributes", "[]", "{}"),
        ("events", "device_type", '"unknown"', "unknown"),
        ("revenue", "account_id", '"account-1"', "account-1"),
    ],
    ids=lambda value: value[:20],
)
def test_a_value_has_the_type_of_the_api_s_page(
    resource: str, column: str, text: str, cell: str
) -> None:
    assert checked(resource, column, text) == cell


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("mcc", "1.00000000000000000000001"),
        ("mcc", "1e-1"),
        ("mcc", "1e999999999"),
        ("mcc", '"1.0"'),
        ("event_timestamp", "1700000000.5"),
        ("profile_id", "42.0"),
        ("os_version", "10.0"),
        ("event_name", "true"),
    ],
)
def test_a_number_that_is_no_integer_is_of_the_wrong_type(column: str, text: str) -> None:
    assert code("events", column, text) == (Reason.WRONG_TYPE, column)


def test_a_float_in_a_string_column_is_to_be_sent_as_a_string() -> None:
    faults = checked("events", "os_version", "10.0")
    assert isinstance(faults, tuple)
    assert faults[0].message == "expected a string, found 10.0; send it as a string"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1e-05", "0.00001"),
        ("1E2", "100"),
        ("1.50e1", "15.0"),
        ("-2.5e+3", "-2500"),
        ('"1e-4"', "0.0001"),
        ('"0001234567890.5"', "0001234567890.5"),
        ("0e0", "0"),
    ],
)
def test_an_exponent_is_written_out_exactly(text: str, written: str) -> None:
    assert checked("revenue", "price", text) == written


@examples(300)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-(10.0**80), max_value=10.0**80))
def test_whatever_a_producer_s_float_was_written_as_is_what_arrives(value: float) -> None:
    cell = checked("revenue", "price", json.dumps(value))
    if isinstance(cell, str):
        assert Decimal(cell) == Decimal(json.dumps(value))
        assert "e" not in cell.lower()
    else:
        assert cell[0].reason is Reason.OUT_OF_RANGE
        assert abs(value) < 10.0 ** (20 - DECIMAL_CHARACTERS_MAX) or abs(value) >= 10.0**10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("true", Reason.WRONG_TYPE),
        ("[1]", Reason.WRONG_TYPE),
        ("{}", Reason.WRONG_TYPE),
        ('"1,05"', Reason.WRONG_TYPE),
        ('"+1"', Reason.WRONG_TYPE),
        ('".5"', Reason.WRONG_TYPE),
        ('"1."', Reason.WRONG_TYPE),
        ('"free"', Reason.WRONG_TYPE),
        ('" 1"', Reason.WRONG_TYPE),
        ('"١"', Reason.WRONG_TYPE),
        ('"NaN"', Reason.WRONG_TYPE),
        ('"Infinity"', Reason.WRONG_TYPE),
        ("1e999", Reason.OUT_OF_RANGE),
        ("1e-999", Reason.OUT_OF_RANGE),
        ("1e999999999999", Reason.OUT_OF_RANGE),
        ("1" * (DECIMAL_CHARACTERS_MAX + 1), Reason.OUT_OF_RANGE),
        ("1" * 5000, Reason.OUT_OF_RANGE),
        ("0", None),
        ("9" * 10, None),
        ("1" * 11, Reason.OUT_OF_RANGE),
        ("-1e10", Reason.OUT_OF_RANGE),
        ("9999999999.99", None),
        ("0." + "1" * (DECIMAL_CHARACTERS_MAX - 2), None),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_is_no_decimal_is_refused(text: str, reason: Reason | None) -> None:
    if reason is None:
        assert checked("revenue", "price", text) == text
    else:
        assert code("revenue", "price", text) == (reason, "price")


def test_a_price_of_null_or_nothing_is_missing() -> None:
    assert (
        code("revenue", "price", "null")
        == code("revenue", "price", '""')
        == (Reason.MISSING, "price")
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('["a","b"]', "[a,b]"),
        ('["promo code 1"]', "[promo code 1]"),
        ('"[a,b]"', "[a,b]"),
        ('["🙂"]', "[🙂]"),
        ("[]", ""),
        ('"[]"', ""),
        ("null", ""),
        ('""', ""),
    ],
)
def test_an_array_is_written_in_the_api_s_form(text: str, written: str) -> None:
    assert checked("ecommerce", "product_promo_codes", text) == written


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"a"', Reason.WRONG_TYPE),
        ('"["', Reason.WRONG_TYPE),
        ("{}", Reason.WRONG_TYPE),
        ("5", Reason.WRONG_TYPE),
        ("[5]", Reason.WRONG_TYPE),
        ("[null]", Reason.WRONG_TYPE),
        ('[["a"]]', Reason.WRONG_TYPE),
        ('["a,b"]', Reason.OUT_OF_RANGE),
        ('["[a]"]', Reason.OUT_OF_RANGE),
        (r'["say \"hi\""]', Reason.OUT_OF_RANGE),
        ('[""]', Reason.OUT_OF_RANGE),
        ('[" a"]', Reason.OUT_OF_RANGE),
        (r'["a\nb"]', Reason.OUT_OF_RANGE),
        ('"[a,,b]"', Reason.OUT_OF_RANGE),
        ('"[[a]]"', Reason.OUT_OF_RANGE),
    ],
)
def test_an_array_that_the_api_s_form_cannot_distinguish_is_refused(
    text: str, reason: Reason
) -> None:
    assert code("ecommerce", "product_promo_codes", text) == (reason, "product_promo_codes")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a":"b","n":1,"m":-1.5e3,"t":true,"f":false}',
        '{ "a" : 1, "a" : 2 }',
        r'{"\u0430":"\ud83d\ude42"}',
    ],
    ids=["none", "every type", "a name twice", "escapes"],
)
@pytest.mark.parametrize("quoted", [False, True], ids=["object", "string"])
def test_attributes_are_passed_on_byte_for_byte(text: str, quoted: bool) -> None:
    assert checked("profiles", "attributes", json.dumps(text) if quoted else text) == text


@pytest.mark.parametrize(
    "text",
    ['{"a":[1]}', '{"a":{"delta":1}}', '{"a":null}', "[1]", "5", '"x"', r'"{\"\\ud800\":1}"'],
    ids=["array", "object", "null", "no object", "number", "text", "half a character in a string"],
)
def test_attributes_of_other_types_are_refused(text: str) -> None:
    assert code("profiles", "attributes", text) == (Reason.WRONG_TYPE, "attributes")


def test_a_fault_says_what_was_expected_and_found_apart_and_shortened() -> None:
    faults = checked("revenue", "price", json.dumps("x" * 1000))
    assert isinstance(faults, tuple)
    assert (faults[0].expected, len(faults[0].found), faults[0].found[:3]) == (
        "a decimal number",
        40,
        "'xx",
    )
    assert faults[0].message == f"expected {faults[0].expected}, found {faults[0].found}"


@pytest.mark.parametrize(
    ("resource", "name", "text", "advice"),
    [
        ("events", "event_timestamp", "1795861601.5", "round down to an integer"),
        ("events", "event_timestamp", '"1795861601.5"', "round down to an integer"),
        (
            "events",
            "event_timestamp",
            '"2023-11-14T22:13:20Z"',
            "send Unix time in seconds, or set time.unit: iso8601 for the route",
        ),
        (
            "events",
            "event_timestamp",
            '"2023-11-14 22:13"',
            "send Unix time in seconds, or set time.unit: iso8601 for the route",
        ),
        ("events", "event_timestamp", '"yesterday"', ""),
        ("events", "event_timestamp", "1e-999", ""),
        ("events", "event_timestamp", f'"{"1" * 70}.5"', ""),
        ("revenue", "price", '"1,05"', "write the decimal point as a point"),
        ("revenue", "price", '"1,05 RUB"', ""),
        ("events", "session_type", '"Foreground"', "case and spaces matter: foreground"),
        ("events", "session_type", '"BACKGROUND "', "case and spaces matter: background"),
        ("events", "session_type", '"front"', ""),
    ],
)
def test_a_common_mistake_gets_advice(resource: str, name: str, text: str, advice: str) -> None:
    faults = checked(resource, name, text)
    assert isinstance(faults, tuple)
    shown = f"expected {faults[0].expected}, found {faults[0].found}"
    assert faults[0].message == (f"{shown}; {advice}" if advice else shown)


ADDRESSES = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.text("0:1f.", max_size=40),
    st.lists(st.sampled_from(["", "0", "12ab", "FFFF", "1.2.3.4", "01", "256"]), max_size=10).map(
        ":".join
    ),
    st.lists(st.integers(0, 300).map(str), min_size=3, max_size=5).map(".".join),
)


@examples(1000)
@given(ADDRESSES)
def test_an_address_is_what_the_standard_library_takes_for_one(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        expected = None
    else:
        expected = text if address.version == 6 else f"::ffff:{text}"
    (column,) = (one for one in EVENTS.columns if one.name == "device_ipv6")
    cell = check(column, text, TimeWindow(0, 1, 0))
    assert (cell if isinstance(cell, str) else None) == expected

"""What a valid record becomes: its cells, its destination, its text passed on untouched."""

from __future__ import annotations

import json

import pytest

from tests.builders import (
    APPLICATION_ID,
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_destination,
    make_record,
    make_rules,
    make_value,
    now_at,
)
from tests.unit.core.intake.reading import cells_of, codes_of, row_of
from worker.core.intake.intake import Intake, held_bytes
from worker.core.model.fault import Reason
from worker.core.post_api.resource import EVENTS, PROFILES, Identity

ALL_FIELDS = {
    "event_json": {"sum": 5},
    "session_type": "foreground",
    "ios_ifa": "a",
    "ios_ifv": "b",
    "google_aid": "c",
    "windows_aid": "d",
    "os_name": "android",
    "os_version": "14",
    "device_manufacturer": "Acme",
    "device_model": "Phone 3",
    "device_type": "phone",
    "device_locale": "en_US",
    "app_version_name": "1.0",
    "app_package_name": "com.example.app",
    "connection_type": "wifi",
    "operator_name": "MegaFon",
    "mcc": 250,
    "mnc": 2,
    "device_ipv6": "2a02:6b8::40c:6676:baff:fea6:53d8",
}


def test_a_minimal_event_fills_the_required_cells_and_leaves_the_rest_empty() -> None:
    row = row_of(make_value())
    assert row.line == b"1111,user-1,purchase,%d" % UNIX_SECONDS + b"," * 19 + b"\n"
    assert row.destination == make_destination()


def test_a_full_event_fills_every_cell_in_the_order_of_the_documentation() -> None:
    cells = cells_of(row_of(make_value(**ALL_FIELDS)))
    expected = {"application_id": "1111", "profile_id": "user-1", "event_name": "purchase"}
    expected |= {"event_timestamp": str(UNIX_SECONDS)}
    expected |= {name: str(value) for name, value in ALL_FIELDS.items() if name != "event_json"}
    assert json.loads(cells.pop("event_json")) == {"sum": 5}
    assert cells == expected


def test_the_header_names_the_identity_second_and_nothing_twice() -> None:
    for identity in Identity:
        names = EVENTS.header(identity)
        assert names[:4] == ("application_id", identity.value, "event_name", "event_timestamp")
        assert len(names) == len(set(names)) == 23


@pytest.mark.parametrize("device_id", [1, 2**53 + 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("as_text", [False, True], ids=["number", "digits"])
def test_a_device_id_is_exact_up_to_64_bits(device_id: int, as_text: bool) -> None:
    row = row_of(
        make_value(profile_id=..., appmetrica_device_id=str(device_id) if as_text else device_id)
    )
    assert cells_of(row)["appmetrica_device_id"] == str(device_id)
    assert row.destination == make_destination(identity=Identity.DEVICE_ID)


@pytest.mark.parametrize("spelling", ["1111", "01111", "0" * 16 + "1111"])
def test_digits_with_leading_zeros_name_the_same_number(spelling: str) -> None:
    row = row_of(make_value(application_id=spelling, event_timestamp=f"0{UNIX_SECONDS}", mcc="007"))
    assert row.destination.application_id == APPLICATION_ID
    assert row.event_timestamp == UNIX_SECONDS
    assert cells_of(row)["mcc"] == "7"


@pytest.mark.parametrize(
    ("timestamp", "seconds"),
    [(UNIX_SECONDS * 1000 - 5000, UNIX_SECONDS - 5), (-1, UNIX_SECONDS), (0, UNIX_SECONDS)],
    ids=["the record's", "the moment's: the record has none", "the moment's: a zero is none"],
)
def test_a_profile_has_the_time_of_its_record(timestamp: int, seconds: int) -> None:
    record = FakeRecord(
        0, b'{"application_id": 1111, "profile_id": "u", "attributes": {}}', timestamp=timestamp
    )
    ((row,), _) = Intake(make_rules(resource=PROFILES)).read(make_assignment(), [record], now_at(0))
    assert row.event_timestamp == seconds


def test_an_application_id_is_exact_up_to_63_bits() -> None:
    row = row_of(make_value(application_id=2**63 - 1), applications=frozenset({2**63 - 1}))
    assert row.destination.application_id == 2**63 - 1


def test_a_profile_id_that_looks_like_a_number_stays_the_text_it_is() -> None:
    assert (
        cells_of(row_of(make_value(profile_id="00123456789012345678901")))["profile_id"]
        == "00123456789012345678901"
    )


@pytest.mark.parametrize("empty", ["", None], ids=["empty string", "null"])
def test_an_empty_optional_value_is_an_absent_one(empty: str | None) -> None:
    absent = row_of(make_value())
    present = row_of(make_value(appmetrica_device_id=empty, **dict.fromkeys(ALL_FIELDS, empty)))
    assert present.line == absent.line


def test_an_empty_profile_id_beside_a_device_id_is_no_second_identity() -> None:
    assert (
        row_of(make_value(profile_id="", appmetrica_device_id=5)).destination.identity
        is Identity.DEVICE_ID
    )


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("1.2.3.4", "::ffff:1.2.3.4"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("::", "::"),
        ("2A02:6B8::1", "2A02:6B8::1"),
        ("2a02:6b8:0:0:0:0:0:1", "2a02:6b8:0:0:0:0:0:1"),
    ],
)
def test_an_address_is_written_as_given_and_an_ipv4_address_mapped(
    given: str, written: str
) -> None:
    assert cells_of(row_of(make_value(device_ipv6=given)))["device_ipv6"] == written


@pytest.mark.parametrize("session_type", ["foreground", "background"])
def test_both_session_types_are_taken(session_type: str) -> None:
    assert cells_of(row_of(make_value(session_type=session_type)))["session_type"] == session_type


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"key":"value_1"}',
        '{"param1":"param2","param1":{"param2":"param3"}}',
        '{ "a" :\t1 ,\r\n "b": [ 1.50, 1e400, 123456789012345678901234567890 ] }',
        '{"ключ":"значение","emoji":"🙂","escaped":"\\u00e9\\ud83d\\ude42\\u0000"}',
        '{"quote":"\\"","comma":",","nothing":null,"deep":{"a":{"b":[[[]]]}}}',
    ],
    ids=["empty", "simple", "one name twice", "whitespace and exact numbers", "unicode", "quotes"],
)
@pytest.mark.parametrize("in_a_string", [False, True], ids=["object", "string"])
def test_event_json_is_passed_on_byte_for_byte(text: str, in_a_string: bool) -> None:
    given = json.dumps(text) if in_a_string else text
    value = make_value()[:-1] + f',"event_json": {given} }}'.encode()
    assert cells_of(row_of(value))["event_json"] == text


def test_event_json_that_is_not_utf8_is_refused() -> None:
    value = make_value()[:-1] + b',"event_json":{"a":"\xff"}}'
    assert codes_of(value) == [(Reason.WRONG_TYPE, "event_json")]


def test_a_string_that_is_not_utf8_is_refused_for_its_field() -> None:
    value = make_value(event_name="x").replace(b'"x"', b'"\xff"')
    assert codes_of(value) == [(Reason.WRONG_TYPE, "event_name")]


def test_event_json_nested_a_hundred_deep_is_taken() -> None:
    text = '{"a":' * 100 + "1" + "}" * 100
    value = make_value()[:-1] + f',"event_json":{text}}}'.encode()
    assert cells_of(row_of(value))["event_json"] == text


def test_whitespace_around_the_event_does_not_matter() -> None:
    assert row_of(b" \r\n\t" + make_value() + b"\n ").line == row_of(make_value()).line


def test_of_a_name_given_twice_the_last_value_counts() -> None:
    value = b'{"event_name":"first",' + make_value()[1:]
    assert cells_of(row_of(value))["event_name"] == "purchase"
    wrong_first = b'{"event_name":5,' + make_value()[1:]
    assert cells_of(row_of(wrong_first))["event_name"] == "purchase"


def test_a_chunk_comes_out_in_offset_order_with_every_record_in_one_of_the_lists() -> None:
    values = [make_value(), b"{}", make_value(event_name="b"), None, make_value(event_name="c")]
    records = [FakeRecord(offset, value) for offset, value in enumerate(values, start=10)]
    rows, rejections = Intake(make_rules()).read(make_assignment(3), records, now_at())
    assert [row.record.offset for row in rows] == [10, 12, 14]
    assert [rejection.record.offset for rejection in rejections] == [11, 13]
    assert (
        {row.assignment for row in rows}
        == {rejection.assignment for rejection in rejections}
        == {make_assignment(3)}
    )


def test_a_row_keeps_its_record_and_costs_its_line_on_top() -> None:
    record = make_record(4)
    rows, _ = Intake(make_rules()).read(make_assignment(), [record], now_at())
    assert rows[0].record is record
    assert rows[0].size_bytes == held_bytes(record) + len(rows[0].line)


def test_an_empty_chunk_gives_nothing() -> None:
    assert Intake(make_rules()).read(make_assignment(), [], now_at()) == ([], [])


def test_the_time_window_moves_with_the_clock() -> None:
    intake = Intake(make_rules(event_age_seconds_max=10))
    record = FakeRecord(0, make_value())
    assert len(intake.read(make_assignment(), [record], now_at(10.9))[0]) == 1
    assert len(intake.read(make_assignment(), [record], now_at(11.0))[1]) == 1

"""What makes a record invalid: each reason, the field it names, and every fault at once."""

from __future__ import annotations

import pytest

from tests.builders import (
    APPLICATION_ID,
    UNIX_SECONDS,
    FakeRecord,
    make_event,
    make_record,
    make_value,
)
from tests.unit.core.intake.reading import codes_of, faults_of, read, row_of
from worker.core.intake.faults import NAME_CHARACTERS_MAX
from worker.core.intake.intake import held_bytes
from worker.core.intake.rules import InvalidOptional, UnknownFields
from worker.core.model.fault import FieldFault, Reason, Rejection

NESTED = b'{"a":' * 5000 + b"1" + b"}" * 5000


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, Reason.EMPTY_VALUE, id="a tombstone"),
        pytest.param(b"", Reason.EMPTY_VALUE, id="no bytes"),
        pytest.param(b"hello", Reason.NOT_JSON, id="plain text"),
        pytest.param(b"\x00\x01\x02", Reason.NOT_JSON, id="binary"),
        pytest.param(make_value()[:-1], Reason.NOT_JSON, id="cut short"),
        pytest.param(make_value() + b"{}", Reason.NOT_JSON, id="two objects"),
        pytest.param(
            make_value().replace(b": 1111", b": NaN"), Reason.NOT_JSON, id="NaN is no JSON"
        ),
        pytest.param(
            make_value()[:-1] + b',"\xff":1}', Reason.NOT_JSON, id="a name that is not UTF-8"
        ),
        pytest.param(
            make_value()[:-1] + b',"event_json":' + NESTED + b"}",
            Reason.NOT_JSON,
            id="nested too deeply",
        ),
        pytest.param(
            make_value(event_name="x").replace(b'"x"', rb'"\ud800"'),
            Reason.NOT_JSON,
            id="lone surrogate",
        ),
        pytest.param(b"[]", Reason.NOT_AN_OBJECT, id="an array"),
        pytest.param(b"[" + make_value() + b"]", Reason.NOT_AN_OBJECT, id="an array of one event"),
        pytest.param(b"null", Reason.NOT_AN_OBJECT, id="a null"),
        pytest.param(b'"{}"', Reason.NOT_AN_OBJECT, id="a string"),
        pytest.param(b"5", Reason.NOT_AN_OBJECT, id="a number"),
    ],
)
def test_a_value_that_is_no_object_has_a_single_fault_of_the_whole_record(
    value: bytes | None, reason: Reason
) -> None:
    assert codes_of(value) == [(reason, "")]


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        pytest.param(
            {"application_id": ...}, Reason.MISSING, "application_id", id="no application"
        ),
        pytest.param(
            {"application_id": None}, Reason.MISSING, "application_id", id="application null"
        ),
        pytest.param(
            {"application_id": ""}, Reason.MISSING, "application_id", id="application empty"
        ),
        pytest.param(
            {"application_id": 0}, Reason.OUT_OF_RANGE, "application_id", id="application zero"
        ),
        pytest.param(
            {"application_id": 2**63},
            Reason.OUT_OF_RANGE,
            "application_id",
            id="application too big",
        ),
        pytest.param(
            {"application_id": "abc"},
            Reason.WRONG_TYPE,
            "application_id",
            id="application in letters",
        ),
        pytest.param(
            {"application_id": 1111.5}, Reason.WRONG_TYPE, "application_id", id="application float"
        ),
        pytest.param(
            {"application_id": True}, Reason.WRONG_TYPE, "application_id", id="application bool"
        ),
        pytest.param(
            {"application_id": 2222},
            Reason.UNKNOWN_APPLICATION,
            "application_id",
            id="application without key",
        ),
        pytest.param({"event_name": ...}, Reason.MISSING, "event_name", id="no name"),
        pytest.param({"event_name": ""}, Reason.MISSING, "event_name", id="empty name"),
        pytest.param({"event_name": None}, Reason.MISSING, "event_name", id="name null"),
        pytest.param({"event_name": 5.0}, Reason.WRONG_TYPE, "event_name", id="name float"),
        pytest.param({"event_name": {"a": 1}}, Reason.WRONG_TYPE, "event_name", id="name object"),
        pytest.param(
            {"event_timestamp": ...}, Reason.MISSING, "event_timestamp", id="no timestamp"
        ),
        pytest.param(
            {"event_timestamp": None}, Reason.MISSING, "event_timestamp", id="timestamp null"
        ),
        pytest.param(
            {"event_timestamp": UNIX_SECONDS + 0.5},
            Reason.WRONG_TYPE,
            "event_timestamp",
            id="timestamp float",
        ),
        pytest.param(
            {"event_timestamp": "2023-11-14"},
            Reason.WRONG_TYPE,
            "event_timestamp",
            id="timestamp date",
        ),
        pytest.param(
            {"event_timestamp": -1}, Reason.OUT_OF_RANGE, "event_timestamp", id="timestamp negative"
        ),
        pytest.param({"profile_id": ...}, Reason.MISSING, "profile_id", id="no identity"),
        pytest.param({"profile_id": None}, Reason.MISSING, "profile_id", id="identity null"),
        pytest.param({"profile_id": ""}, Reason.MISSING, "profile_id", id="identity empty"),
        pytest.param({"profile_id": 1.5}, Reason.WRONG_TYPE, "profile_id", id="profile id float"),
        pytest.param({"event_json": [1]}, Reason.WRONG_TYPE, "event_json", id="event_json array"),
        pytest.param({"event_json": 5}, Reason.WRONG_TYPE, "event_json", id="event_json number"),
        pytest.param({"event_json": True}, Reason.WRONG_TYPE, "event_json", id="event_json bool"),
        pytest.param(
            {"event_json": "plain"}, Reason.WRONG_TYPE, "event_json", id="event_json text"
        ),
        pytest.param(
            {"event_json": "[1]"},
            Reason.WRONG_TYPE,
            "event_json",
            id="event_json array in a string",
        ),
        pytest.param(
            {"event_json": '{"a":'},
            Reason.WRONG_TYPE,
            "event_json",
            id="event_json cut in a string",
        ),
        pytest.param(
            {"event_json": NESTED.decode()},
            Reason.WRONG_TYPE,
            "event_json",
            id="event_json deep in a string",
        ),
        pytest.param(
            {"session_type": "Foreground"},
            Reason.OUT_OF_RANGE,
            "session_type",
            id="session type in capitals",
        ),
        pytest.param(
            {"session_type": "x"}, Reason.OUT_OF_RANGE, "session_type", id="session type unknown"
        ),
        pytest.param(
            {"session_type": 1}, Reason.WRONG_TYPE, "session_type", id="session type number"
        ),
        pytest.param(
            {"session_type": ["background"]},
            Reason.WRONG_TYPE,
            "session_type",
            id="session type list",
        ),
        pytest.param({"mcc": 2**64}, Reason.OUT_OF_RANGE, "mcc", id="65 bits of mcc"),
        pytest.param({"mnc": "-"}, Reason.WRONG_TYPE, "mnc", id="a sign alone"),
        pytest.param({"mnc": "+1"}, Reason.WRONG_TYPE, "mnc", id="a plus sign"),
        pytest.param({"mnc": 1.5}, Reason.WRONG_TYPE, "mnc", id="fraction in an integer column"),
        pytest.param({"os_name": 5.0}, Reason.WRONG_TYPE, "os_name", id="string column as float"),
        pytest.param({"os_name": True}, Reason.WRONG_TYPE, "os_name", id="string column as bool"),
        pytest.param(
            {"device_ipv6": "::1%eth0"},
            Reason.OUT_OF_RANGE,
            "device_ipv6",
            id="address with a zone",
        ),
        pytest.param(
            {"device_ipv6": "1.2.3"},
            Reason.OUT_OF_RANGE,
            "device_ipv6",
            id="three parts of an address",
        ),
        pytest.param(
            {"device_ipv6": "01.2.3.4"},
            Reason.OUT_OF_RANGE,
            "device_ipv6",
            id="leading zero in an address",
        ),
        pytest.param(
            {"device_ipv6": "1.2.3.4/8"}, Reason.OUT_OF_RANGE, "device_ipv6", id="a network"
        ),
        pytest.param(
            {"device_ipv6": "[::1]"}, Reason.OUT_OF_RANGE, "device_ipv6", id="address in brackets"
        ),
        pytest.param(
            {"device_ipv6": "::1::2"},
            Reason.OUT_OF_RANGE,
            "device_ipv6",
            id="two gaps in an address",
        ),
        pytest.param(
            {"device_ipv6": "localhost"}, Reason.OUT_OF_RANGE, "device_ipv6", id="a host name"
        ),
        pytest.param({"device_ipv6": 1}, Reason.WRONG_TYPE, "device_ipv6", id="address number"),
        pytest.param({"colour": "red"}, Reason.UNKNOWN_FIELD, "colour", id="unknown field"),
        pytest.param(
            {"colour": None}, Reason.UNKNOWN_FIELD, "colour", id="unknown field that is null"
        ),
    ],
)
def test_one_thing_wrong_is_one_fault_that_names_the_field(
    changes: dict[str, object], reason: Reason, field: str
) -> None:
    assert codes_of(make_value(**changes)) == [(reason, field)]


def test_every_fault_of_a_record_is_listed_at_once() -> None:
    value = make_value(
        application_id=2222,
        appmetrica_device_id=5,
        event_name=...,
        event_timestamp=UNIX_SECONDS * 1000,
        event_json=[1],
        session_type="idle",
        mcc=2**64,
        device_ipv6="nowhere",
        evnt_name="purchase",
    )
    assert codes_of(value) == [
        (Reason.MISSING, "event_name"),
        (Reason.MILLISECONDS, "event_timestamp"),
        (Reason.WRONG_TYPE, "event_json"),
        (Reason.OUT_OF_RANGE, "session_type"),
        (Reason.OUT_OF_RANGE, "mcc"),
        (Reason.OUT_OF_RANGE, "device_ipv6"),
        (Reason.UNKNOWN_FIELD, "evnt_name"),
        (Reason.UNKNOWN_APPLICATION, "application_id"),
        (Reason.BOTH_IDENTITIES, "profile_id and appmetrica_device_id"),
    ]


def test_an_empty_object_lacks_all_that_is_required() -> None:
    assert codes_of(b"{}") == [
        (Reason.MISSING, "application_id"),
        (Reason.MISSING, "event_name"),
        (Reason.MISSING, "event_timestamp"),
        (Reason.MISSING, "profile_id"),
    ]


DROPPING = {"invalid_optional": InvalidOptional.DROP}


def test_an_invalid_value_of_an_optional_column_is_left_out_where_the_route_says_so() -> None:
    value = make_value(mcc="x", device_ipv6="nowhere", session_type="idle", event_json=[1])
    assert row_of(value, **DROPPING).line == row_of(make_value()).line
    assert len(faults_of(value)) == 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"event_timestamp": "x"}, [(Reason.WRONG_TYPE, "event_timestamp")]),
        ({"event_name": []}, [(Reason.WRONG_TYPE, "event_name")]),
        ({"appmetrica_device_id": "x"}, [(Reason.WRONG_TYPE, "appmetrica_device_id")]),
        ({"mcc": "x", "colour": 1}, [(Reason.UNKNOWN_FIELD, "colour")]),
    ],
    ids=str,
)
def test_neither_a_required_value_nor_an_identity_is_left_out(
    changes: dict[str, object], expected: list[tuple[Reason, str]]
) -> None:
    assert codes_of(make_value(**changes), **DROPPING) == expected


def test_an_unknown_field_close_to_a_known_one_is_refused_with_a_suggestion() -> None:
    (fault,) = faults_of(make_value(evnt_name="x"))
    assert str(fault) == "evnt_name: not a parameter of events; did you mean event_name?"
    (far,) = faults_of(make_value(zzz="x"))
    assert str(far) == "zzz: not a parameter of events"


def test_unknown_fields_are_passed_over_where_the_route_says_so() -> None:
    value = make_value(zzz={"deep": [1]}, evnt_name="x")
    assert row_of(value, unknown_fields=UnknownFields.IGNORE).line == row_of(make_value()).line


def test_ignored_fields_are_no_faults_beside_other_faults() -> None:
    value = make_value(zzz=1, event_name=...)
    assert codes_of(value, unknown_fields=UnknownFields.IGNORE) == [(Reason.MISSING, "event_name")]


def test_the_name_of_an_unknown_field_is_made_safe_and_short() -> None:
    (fault,) = faults_of(make_value(**{"bad\nname\x1b[31m" + "x" * 500: 1}))
    assert fault.field.isprintable()
    assert fault.field.isascii()
    assert len(fault.field) <= 4 * NAME_CHARACTERS_MAX


def test_a_found_value_is_made_safe_and_short_in_the_message() -> None:
    (fault,) = faults_of(make_value(session_type="\x1b[31m\n" + "x" * 500))
    assert fault.message.isprintable()
    assert len(fault.message) < 100


def test_a_line_larger_than_a_request_may_be_is_refused() -> None:
    line_bytes = len(row_of(make_value()).line)
    assert len(row_of(make_value(), row_bytes_max=line_bytes).line) == line_bytes
    (fault,) = faults_of(make_value(), row_bytes_max=line_bytes - 1)
    assert (fault.reason, fault.field) == (Reason.TOO_LARGE, "")
    assert str(line_bytes) in fault.message


def test_a_rejection_keeps_the_record_its_size_and_its_first_reason() -> None:
    record = FakeRecord(
        9, make_value(event_name=..., mcc=5000), key=b"key", headers=[("a", b"1"), ("bb", b"")]
    )
    rejection = read(record)
    assert isinstance(rejection, Rejection)
    assert rejection.record is record
    assert rejection.reason is Reason.MISSING
    assert rejection.http_status is None
    assert rejection.size_bytes == held_bytes(record)
    assert held_bytes(record) == held_bytes(FakeRecord(9, record.value)) + 3 + 2 * 120 + 2 + 2
    assert held_bytes(FakeRecord()) == held_bytes(make_record(value=b"x" * 10)) - 10


def test_a_rejection_without_a_fault_cannot_be_made() -> None:
    rejection = read(FakeRecord())
    assert isinstance(rejection, Rejection)
    with pytest.raises(ValueError, match="at least one fault"):
        Rejection(rejection.assignment, rejection.record, (), 0)


def test_a_fault_of_the_whole_record_reads_without_a_field() -> None:
    assert str(FieldFault(Reason.TOO_LARGE, "", "too large")) == "too large"


def test_the_builder_s_event_is_valid() -> None:
    assert make_event()["application_id"] == APPLICATION_ID
    assert row_of(make_value()).destination.application_id == APPLICATION_ID

"""Deduplication keys: from a header or a field, else the digest of the content."""

from __future__ import annotations

import pytest

from tests.builders import FakeRecord, make_destination, make_value
from tests.unit.core.intake.reading import faults_of, read, row_of
from worker.core.intake.dedup_key import KEY_BYTES, header, of_line, of_producer
from worker.core.intake.rules import UnknownFields
from worker.core.model.fault import Reason
from worker.core.model.row import Destination, Row
from worker.core.post_api.resource import RESOURCES, Identity

TWO = frozenset({1111, 2222})


def key_with_headers(*headers: tuple[str, bytes], value: bytes | None = None) -> bytes:
    row = read(
        FakeRecord(0, make_value() if value is None else value, headers=headers),
        key_header="event-id",
    )
    assert isinstance(row, Row)
    return row.key


def test_without_a_name_from_the_producer_the_key_is_the_digest_of_the_line() -> None:
    row = row_of(make_value())
    assert row.key == of_line(row.destination, row.line)
    assert len(row.key) == KEY_BYTES == 16


def test_two_writings_of_one_event_have_one_key() -> None:
    assert row_of(make_value(mcc="250")).key == row_of(b" " + make_value(mcc=250, mnc=None)).key


def test_any_difference_in_the_line_is_another_key() -> None:
    keys = {row_of(make_value(event_name=name)).key for name in ("a", "b", "a ", "A")}
    assert len(keys) == 4


def test_a_header_names_the_event_whatever_its_content() -> None:
    first = key_with_headers(("event-id", b"7"))
    assert first == key_with_headers(("event-id", b"7"), value=make_value(event_name="other"))
    assert first != key_with_headers(("event-id", b"8"))
    assert first == of_producer(make_destination(), b"7")


def test_of_a_header_given_twice_the_last_that_is_not_empty_counts() -> None:
    assert key_with_headers(("event-id", b"1"), ("event-id", b"2"), ("other", b"3")) == of_producer(
        make_destination(), b"2"
    )
    assert key_with_headers(("event-id", b"1"), ("event-id", b"")) == of_producer(
        make_destination(), b"1"
    )


@pytest.mark.parametrize(
    "headers", [(), (("other", b"1"),), (("event-id", b""),)], ids=["none", "another", "empty"]
)
def test_without_the_header_the_content_is_the_key(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert key_with_headers(*headers) == row_of(make_value()).key
    assert header(FakeRecord(headers=headers), "event-id") is None


def test_a_field_that_is_no_column_names_the_event_and_is_not_sent() -> None:
    row = row_of(make_value(id="e-1"), key_fields=("id",))
    assert row.key == of_producer(make_destination(), b"e-1")
    assert row.line == row_of(make_value()).line


def test_a_number_and_the_digits_of_it_are_one_name() -> None:
    assert (
        row_of(make_value(id=7), key_fields=("id",)).key
        == row_of(make_value(id="7"), key_fields=("id",)).key
    )
    assert row_of(make_value(id=0), key_fields=("id",)).key == of_producer(make_destination(), b"0")


def test_a_field_that_is_a_column_names_the_event_and_is_sent() -> None:
    row = row_of(
        make_value(transaction="x", operator_name="op-1"),
        key_fields=("operator_name",),
        unknown_fields=UnknownFields.IGNORE,
    )
    assert row.key == of_producer(make_destination(), b"op-1")
    assert b"op-1" in row.line


@pytest.mark.parametrize("spelling", ["user-1", "profile_id"], ids=["a value", "a name"])
def test_the_identity_itself_may_name_the_event(spelling: str) -> None:
    assert row_of(make_value(profile_id=spelling), key_fields=("profile_id",)).key == of_producer(
        make_destination(), spelling.encode()
    )


@pytest.mark.parametrize("given", [..., None, "", 1.5, [], {}, True], ids=str)
def test_without_a_usable_field_the_content_is_the_key(given: object) -> None:
    assert row_of(make_value(id=given), key_fields=("id",)).key == row_of(make_value()).key


def test_the_key_field_needs_not_be_a_python_name() -> None:
    assert row_of(
        make_value(**{"event-id": "1", "": 2}),
        key_fields=("event-id",),
        unknown_fields=UnknownFields.IGNORE,
    ).key == (of_producer(make_destination(), b"1"))


def test_the_key_field_is_unknown_on_a_route_that_does_not_name_it() -> None:
    assert [fault.reason for fault in faults_of(make_value(id="1"))] == [Reason.UNKNOWN_FIELD]


@pytest.mark.parametrize("key_fields", [(), ("id",)], ids=["content", "producer"])
def test_two_applications_never_share_a_key(key_fields: tuple[str, ...]) -> None:
    keys = {
        row_of(
            make_value(application_id=one, id="1"),
            key_fields=key_fields,
            applications=TWO,
            unknown_fields=UnknownFields.IGNORE,
        ).key
        for one in sorted(TWO)
    }
    assert len(keys) == 2


def test_the_two_kinds_of_identity_never_share_a_key() -> None:
    by_profile, by_device = (
        row_of(make_value(profile_id="5")),
        row_of(make_value(profile_id=..., appmetrica_device_id=5)),
    )
    assert by_profile.line == by_device.line
    assert by_profile.key != by_device.key
    line = b"1,2\n"
    assert of_line(make_destination(), line) != of_line(
        make_destination(identity=Identity.DEVICE_ID), line
    )


def test_two_resources_never_share_a_key_of_content() -> None:
    line = b"1111,u,1\n"
    keys = {of_line(Destination(name, 1111, Identity.PROFILE_ID), line) for name in RESOURCES}
    assert len(keys) == len(RESOURCES)


def test_application_and_identifier_cannot_run_into_each_other() -> None:
    assert of_producer(make_destination(1), b"11") != of_producer(make_destination(11), b"1")

"""The three forms of a record: a bare event, an envelope, and CloudEvents in both modes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_destination,
    make_event,
    make_rules,
    now_at,
)
from tests.unit.core.intake.reading import BASES
from worker.core.intake import dedup_key
from worker.core.intake.intake import Intake
from worker.core.intake.rules import EnvelopeNames, Form, UnknownFields
from worker.core.model.fault import Reason, Rejection
from worker.core.model.row import Row
from worker.core.post_api.resource import RESOURCES

ATTRIBUTES = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "com.example.purchase"}
STRUCTURED = (("content-type", b"application/cloudevents+json; charset=utf-8"),)


def read(value: Any, headers: tuple[tuple[str, bytes], ...] = (), **rules: Any) -> Row | Rejection:
    raw = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    rows, rejections = Intake(make_rules(**rules)).read(
        make_assignment(), [FakeRecord(3, raw, headers=headers)], now_at()
    )
    assert len(rows) + len(rejections) == 1
    return rows[0] if rows else rejections[0]


def row(value: Any, headers: tuple[tuple[str, bytes], ...] = (), **rules: Any) -> Row:
    result = read(value, headers, **rules)
    assert isinstance(result, Row), result
    return result


def codes(
    value: Any, headers: tuple[tuple[str, bytes], ...] = (), **rules: Any
) -> list[tuple[Reason, str]]:
    result = read(value, headers, **rules)
    assert isinstance(result, Rejection), result
    return [(fault.reason, fault.field) for fault in result.faults]


ADREVENUE = {
    "application_id": 1111,
    "profile_id": "u",
    "event_timestamp": UNIX_SECONDS,
    "revenue": "0.1",
    "currency": "USD",
    "ad_type": "banner",
}
EVENTS = BASES | {"events": make_event(), "adrevenue": ADREVENUE}


class TestEnvelope:
    @pytest.mark.parametrize("resource", RESOURCES)
    def test_it_names_the_resource_of_each_record(self, resource: str) -> None:
        wrapped = row({"type": resource, "data": EVENTS[resource]}, form=Form.ENVELOPE)
        plain = row(EVENTS[resource], resource=RESOURCES[resource])
        assert (wrapped.line, wrapped.destination, wrapped.key) == (
            plain.line,
            plain.destination,
            plain.key,
        )

    def test_the_data_are_passed_on_byte_for_byte(self) -> None:
        value = json.dumps(make_event())[:-1] + ', "event_json": { "a" : 1.50, "a":2 }}'
        wrapped = row(f'{{"data": {value}, "type": "events"}}'.encode(), form=Form.ENVELOPE)
        assert b'"{ ""a"" : 1.50, ""a"":2 }"' in wrapped.line

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, [(Reason.EMPTY_VALUE, "")]),
            (b"x", [(Reason.NOT_JSON, "")]),
            ([], [(Reason.NOT_AN_OBJECT, "")]),
            ({"type": "purchases", "data": {}}, [(Reason.UNKNOWN_ROUTE, "type")]),
            ({"type": "events"}, [(Reason.MISSING, "data")]),
            ({"data": {}}, [(Reason.MISSING, "type")]),
            ({"type": 5, "data": {}}, [(Reason.WRONG_TYPE, "type")]),
            ({"type": "", "data": {}}, [(Reason.MISSING, "type")]),
            ({"type": "events", "data": []}, [(Reason.NOT_AN_OBJECT, "")]),
            (
                {
                    "type": "profiles",
                    "data": {"application_id": 1111, "profile_id": "u"},
                    "version": 1,
                },
                [(Reason.UNKNOWN_FIELD, "version"), (Reason.MISSING, "attributes")],
            ),
            ({}, [(Reason.MISSING, "type"), (Reason.MISSING, "data")]),
        ],
        ids=str,
    )
    def test_all_that_is_wrong_with_it_is_reported(
        self, value: Any, expected: list[tuple[Reason, str]]
    ) -> None:
        assert codes(value, form=Form.ENVELOPE) == expected

    def test_fields_beside_the_event_may_be_ignored(self) -> None:
        value = {"type": "events", "data": make_event(colour="red"), "version": 1}
        assert (
            row(value, form=Form.ENVELOPE, unknown_fields=UnknownFields.IGNORE).line
            == row(make_event()).line
        )

    def test_the_nearest_resource_is_among_those_it_is_named_with(self) -> None:
        result = read({"type": "purchases", "data": {}}, form=Form.ENVELOPE)
        assert isinstance(result, Rejection)
        assert result.faults[0].expected == "one of events, revenue, adrevenue, ecommerce, profiles"
        assert result.faults[0].found == "'purchases'"
        assert result.faults[0].message.endswith(
            "In the route, name its resource in envelope.types, or skip such records with select"
        )

    def test_a_route_may_name_the_resource_of_a_type(self) -> None:
        names = EnvelopeNames(types={"AdShown": "adrevenue", "profiles": "events"})
        rules: dict[str, Any] = {"form": Form.ENVELOPE, "envelope": names}
        plain = row(ADREVENUE, resource=RESOURCES["adrevenue"])
        for value in (
            {"type": "AdShown", "data": ADREVENUE},
            {"data": json.dumps(ADREVENUE), "type": "AdShown"},
            # A resource's own name is a type too, unless the route gives it another meaning.
            {"type": "adrevenue", "data": ADREVENUE},
        ):
            assert row(value, **rules).line == plain.line
        assert (
            row({"type": "profiles", "data": make_event()}, **rules).line == row(make_event()).line
        )
        assert codes({"type": "purchases", "data": {}}, **rules) == [(Reason.UNKNOWN_ROUTE, "type")]
        assert codes({"type": "AdShown", "data": {}, "x": 1}, **rules)[0] == (
            Reason.UNKNOWN_FIELD,
            "x",
        )


def binary(**changes: bytes | None) -> tuple[tuple[str, bytes], ...]:
    headers: dict[str, bytes | None] = {
        f"ce_{name}": text.encode() for name, text in ATTRIBUTES.items()
    }
    headers |= {"content-type": b"application/json"} | {
        name.replace("content_type", "content-type"): one for name, one in changes.items()
    }
    return tuple((name, value) for name, value in headers.items() if value is not None)


def structured(**changes: Any) -> dict[str, Any]:
    event = {**ATTRIBUTES, "data": make_event()} | changes
    return {name: value for name, value in event.items() if value is not ...}


UNTIMED = make_event(event_timestamp=...)


class TestCloudEvents:
    def test_both_modes_give_the_row_of_the_event_inside(self) -> None:
        plain = row(make_event())
        for one in (
            row(make_event(), binary(), form=Form.CLOUDEVENTS),
            row(structured(), STRUCTURED, form=Form.CLOUDEVENTS),
            row(structured(), form=Form.CLOUDEVENTS),
            row(
                structured(
                    data=...,
                    data_base64=base64.b64encode(json.dumps(make_event()).encode()).decode(),
                ),
                form=Form.CLOUDEVENTS,
            ),
        ):
            assert (one.line, one.destination) == (plain.line, plain.destination)

    def test_source_and_id_together_are_the_deduplication_key(self) -> None:
        first = row(make_event(), binary(), form=Form.CLOUDEVENTS)
        assert first.key == dedup_key.of_producer(make_destination(), b"/shop\0e-1")
        assert (
            first.key
            == row(structured(data=make_event(event_name="other")), form=Form.CLOUDEVENTS).key
        )
        assert first.key != row(make_event(), binary(ce_id=b"e-2"), form=Form.CLOUDEVENTS).key
        # Ids are unique per source only: one of another source is another event, and dropping it
        # would lose it.
        assert first.key != row(make_event(), binary(ce_source=b"/tv"), form=Form.CLOUDEVENTS).key

    def test_a_key_that_the_route_names_is_stronger(self) -> None:
        headers = (*binary(), ("event-id", b"7"))
        assert row(
            make_event(), headers, form=Form.CLOUDEVENTS, key_header="event-id"
        ).key == dedup_key.of_producer(make_destination(), b"7")
        named = row(make_event(id="8"), binary(), form=Form.CLOUDEVENTS, key_fields=("id",))
        assert named.key == dedup_key.of_producer(make_destination(), b"8")
        without = row(make_event(), binary(), form=Form.CLOUDEVENTS, key_header="event-id")
        assert without.key == dedup_key.of_producer(make_destination(), b"/shop\0e-1")

    @pytest.mark.parametrize(
        "time",
        [
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.999999Z",
            "2023-11-15T01:13:20+03:00",
            "2023-11-14t22:13:20z",
        ],
    )
    def test_its_time_counts_where_the_event_has_none(self, time: str) -> None:
        assert (
            row(UNTIMED, binary(ce_time=time.encode()), form=Form.CLOUDEVENTS).event_timestamp
            == UNIX_SECONDS
        )
        assert (
            row(structured(data=UNTIMED, time=time), form=Form.CLOUDEVENTS).event_timestamp
            == UNIX_SECONDS
        )
        given = row(
            make_event(event_timestamp=UNIX_SECONDS - 5),
            binary(ce_time=time.encode()),
            form=Form.CLOUDEVENTS,
        )
        assert given.event_timestamp == UNIX_SECONDS - 5

    def test_its_time_is_held_against_the_window_like_any_other(self) -> None:
        headers = binary(ce_time=b"2003-11-14T22:13:20Z")
        assert codes(UNTIMED, headers, form=Form.CLOUDEVENTS) == [
            (Reason.TOO_OLD, "event_timestamp")
        ]
        assert codes(
            make_event(event_timestamp=0),
            binary(ce_time=b"2023-11-14T22:13:20Z"),
            form=Form.CLOUDEVENTS,
        ) == [(Reason.TOO_OLD, "event_timestamp")]

    @pytest.mark.parametrize("name", ATTRIBUTES)
    def test_a_required_attribute_that_lacks_is_missing_in_either_mode(self, name: str) -> None:
        assert codes(make_event(), binary(**{f"ce_{name}": None}), form=Form.CLOUDEVENTS) == [
            (Reason.MISSING, f"ce_{name}")
        ]
        assert codes(structured(**{name: ...}), form=Form.CLOUDEVENTS) == [(Reason.MISSING, name)]

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            (binary(ce_specversion=b"0.3"), [(Reason.OUT_OF_RANGE, "ce_specversion")]),
            (binary(ce_time=b"yesterday"), [(Reason.WRONG_TYPE, "ce_time")]),
            (binary(ce_time=b"2023-11-14"), [(Reason.WRONG_TYPE, "ce_time")]),
            (binary(ce_time=b"2023-11-14T22:13:20"), [(Reason.WRONG_TYPE, "ce_time")]),
            (binary(ce_time=b"2023-W46-2T22:13:20Z"), [(Reason.WRONG_TYPE, "ce_time")]),
            (binary(ce_id=b"\xff"), [(Reason.WRONG_TYPE, "ce_id")]),
            (binary(content_type=b"text/xml"), [(Reason.NOT_JSON, "content-type")]),
            (
                (("content-type", b"application/cloudevents-batch+json"),),
                [(Reason.NOT_AN_OBJECT, "content-type")],
            ),
        ],
        ids=["version", "time", "date", "no offset", "week", "not UTF-8", "not JSON", "batched"],
    )
    def test_a_wrong_attribute_is_a_fault(
        self, headers: tuple[tuple[str, bytes], ...], expected: list[tuple[Reason, str]]
    ) -> None:
        assert codes(make_event(), headers, form=Form.CLOUDEVENTS) == expected

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"data": ...}, [(Reason.MISSING, "data")]),
            ({"data": None}, [(Reason.MISSING, "data")]),
            ({"data": ..., "data_base64": "?"}, [(Reason.WRONG_TYPE, "data_base64")]),
            ({"data": ..., "data_base64": 5}, [(Reason.WRONG_TYPE, "data_base64")]),
            ({"datacontenttype": "text/xml"}, [(Reason.NOT_JSON, "datacontenttype")]),
            ({"id": 5}, [(Reason.WRONG_TYPE, "id")]),
            ({"time": 5}, [(Reason.WRONG_TYPE, "time")]),
            ({"data": []}, [(Reason.NOT_AN_OBJECT, "")]),
            (
                {"id": "", "data": {"profile_id": "u"}, "time": "2023-11-14T22:13:20Z"},
                [
                    (Reason.MISSING, "id"),
                    (Reason.MISSING, "application_id"),
                    (Reason.MISSING, "event_name"),
                ],
            ),
        ],
        ids=str,
    )
    def test_all_that_is_wrong_with_a_structured_one_is_reported(
        self, changes: dict[str, Any], expected: list[tuple[Reason, str]]
    ) -> None:
        assert codes(structured(**changes), STRUCTURED, form=Form.CLOUDEVENTS) == expected

    @pytest.mark.parametrize(
        ("value", "reason"),
        [(None, Reason.EMPTY_VALUE), (b"x", Reason.NOT_JSON), ([], Reason.NOT_AN_OBJECT)],
        ids=str,
    )
    @pytest.mark.parametrize("headers", [binary(), STRUCTURED], ids=["binary", "structured"])
    def test_a_value_that_is_no_object_is_one_fault(
        self, headers: tuple[tuple[str, bytes], ...], value: Any, reason: Reason
    ) -> None:
        assert codes(value, headers, form=Form.CLOUDEVENTS) == [(reason, "")]

    def test_extensions_are_nobody_s_fault(self) -> None:
        assert (
            row(structured(traceparent="00-x", subject="a"), form=Form.CLOUDEVENTS).line
            == row(make_event()).line
        )
        assert (
            row(make_event(), (*binary(), ("ce_traceparent", b"x")), form=Form.CLOUDEVENTS).line
            == row(make_event()).line
        )


class TestEnvelopeNames:
    NAMES = EnvelopeNames("eventType", "payload")

    def test_the_fields_of_an_envelope_have_the_routes_names(self) -> None:
        value = {"eventType": "adrevenue", "payload": ADREVENUE}
        found = row(value, form=Form.ENVELOPE, envelope=self.NAMES)
        assert found.destination.resource == "adrevenue"
        assert codes({"type": "adrevenue"}, form=Form.ENVELOPE, envelope=self.NAMES) == [
            (Reason.MISSING, "eventType"),
            (Reason.MISSING, "payload"),
            (Reason.UNKNOWN_FIELD, "type"),
        ]

    def test_the_data_may_be_json_text(self) -> None:
        text = json.dumps(ADREVENUE)
        line = row({"type": "adrevenue", "data": ADREVENUE}, form=Form.ENVELOPE).line
        assert row({"type": "adrevenue", "data": text}, form=Form.ENVELOPE).line == line
        extra = {"type": "adrevenue", "data": text, "extra": 1}
        rules: dict[str, Any] = {"form": Form.ENVELOPE, "unknown_fields": UnknownFields.IGNORE}
        assert row(extra, **rules).line == line
        assert codes({"type": "adrevenue", "data": "text"}, form=Form.ENVELOPE) == [
            (Reason.NOT_JSON, "")
        ]

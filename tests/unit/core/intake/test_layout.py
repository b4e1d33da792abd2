"""Constants, fields found elsewhere, exact columns, and what is remarked on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_destination,
    make_event,
    make_rules,
    make_value,
    now_at,
    parse_csv,
)
from tests.searches import CHARACTERS, examples
from tests.unit.core.intake.reading import (
    NESTED,
    cells_of,
    codes_of,
    dumps,
    faults_of,
    foreign,
    row_of,
)
from worker.core.batching.batcher import header
from worker.core.counters.counters import (
    DROPPED,
    ContractDrift,
    Drift,
)
from worker.core.intake import dedup_key
from worker.core.intake.explain import explain
from worker.core.intake.intake import Intake
from worker.core.intake.rules import ColumnChoice, InvalidOptional, UnknownFields
from worker.core.model.fault import Reason


class TestConstants:
    def test_a_constant_fills_its_column_in_every_row(self) -> None:
        value = make_value(application_id=..., event_name="x")
        assert (
            row_of(value, constants={"application_id": "1111"}).line
            == row_of(make_value(event_name="x")).line
        )
        assert (
            cells_of(row_of(value, constants={"application_id": "1111", "mcc": "250"}))["mcc"]
            == "250"
        )

    def test_a_constant_object_is_written_as_it_is(self) -> None:
        assert (
            cells_of(row_of(make_value(), constants={"event_json": '{"from":"tv"}'}))["event_json"]
            == '{"from":"tv"}'
        )

    @pytest.mark.parametrize("unknown_fields", list(UnknownFields))
    @pytest.mark.parametrize("repeated", [1111, "1111", "01111", None, ""])
    def test_a_record_may_repeat_a_constant(
        self, repeated: object, unknown_fields: UnknownFields
    ) -> None:
        rules: dict[str, Any] = {
            "constants": {"application_id": "1111"},
            "unknown_fields": unknown_fields,
        }
        line = row_of(make_value(application_id=...), **rules).line
        assert row_of(make_value(application_id=repeated), **rules).line == line

    @pytest.mark.parametrize("unknown_fields", list(UnknownFields))
    @pytest.mark.parametrize(
        ("repeated", "shown"), [(2222, "'2222'"), ("x", "'\"x\"'"), ([1111], "'[1111]'")]
    )
    def test_a_record_that_says_otherwise_than_a_constant_is_refused(
        self, repeated: object, shown: str, unknown_fields: UnknownFields
    ) -> None:
        (fault,) = faults_of(
            make_value(application_id=repeated),
            constants={"application_id": "1111"},
            unknown_fields=unknown_fields,
        )
        assert (fault.reason, fault.field) == (Reason.OUT_OF_RANGE, "application_id")
        assert fault.message == (
            f"expected 1111, the constant of the route, or no such field, found {shown}"
        )

    def test_a_constant_object_may_be_repeated_in_any_form(self) -> None:
        rules: dict[str, Any] = {"constants": {"event_json": '{"from":"tv","n":1}'}}
        line = row_of(make_value(), **rules).line
        assert row_of(make_value(event_json={"n": 1, "from": "tv"}), **rules).line == line
        assert codes_of(make_value(event_json={"from": "tv"}), **rules) == [
            (Reason.OUT_OF_RANGE, "event_json")
        ]

    def test_a_path_through_the_name_of_a_constant_leads_on(self) -> None:
        rules: dict[str, Any] = {
            "constants": {"application_id": "1111"},
            "fields": {"event_name": ("application_id", "name")},
        }
        value = make_value(application_id={"name": "n"}, event_name=...)
        assert cells_of(row_of(value, **rules))["event_name"] == "n"

    def test_a_constant_for_an_application_without_key_is_reported(self) -> None:
        assert codes_of(make_value(application_id=...), constants={"application_id": "5"}) == [
            (Reason.UNKNOWN_APPLICATION, "application_id")
        ]


class TestFields:
    def test_values_are_found_under_other_names_and_deeper(self) -> None:
        assert row_of(dumps(foreign()), **NESTED).line == row_of(make_value(os_name="ios")).line

    def test_what_lies_on_a_path_may_lack(self) -> None:
        assert (
            cells_of(row_of(dumps(foreign(user={"id": "u", "device": None})), **NESTED))["os_name"]
            == ""
        )
        assert codes_of(dumps(foreign(user=...)), **NESTED) == [(Reason.MISSING, "user.id")]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"name": ...}, [(Reason.MISSING, "name")]),
            ({"name": 5.5}, [(Reason.WRONG_TYPE, "name")]),
            ({"user": {"id": 5.5}}, [(Reason.WRONG_TYPE, "user.id")]),
            ({"user": "u"}, [(Reason.WRONG_TYPE, "user"), (Reason.MISSING, "user.id")]),
            ({"user": {"id": "u", "device": [1]}}, [(Reason.WRONG_TYPE, "user.device")]),
            ({"event_name": "x"}, [(Reason.UNKNOWN_FIELD, "event_name")]),
            ({"user": {"id": "u", "age": 5}}, [(Reason.UNKNOWN_FIELD, "user.age")]),
            (
                {"appmetrica_device_id": 5},
                [(Reason.BOTH_IDENTITIES, "user.id and appmetrica_device_id")],
            ),
        ],
        ids=str,
    )
    def test_faults_speak_of_names_as_the_record_spells_them(
        self, changes: dict[str, Any], expected: list[tuple[Reason, str]]
    ) -> None:
        assert codes_of(dumps(foreign(**changes)), **NESTED) == expected

    @pytest.mark.parametrize("device", ["x", 5, [1], True])
    def test_what_only_optional_columns_are_read_from_is_dropped_where_the_route_says_so(
        self, device: object
    ) -> None:
        value = dumps(foreign(user={"id": "u", "device": device}))
        rules = NESTED | {"invalid_optional": InvalidOptional.DROP}
        drift = ContractDrift()
        intake = Intake(make_rules(**rules))
        (row,), rejections = intake.read(make_assignment(), [FakeRecord(0, value)], now_at(), drift)
        assert row.line == row_of(dumps(foreign(user={"id": "u"})), **NESTED).line
        assert rejections == []
        assert drift.drifts == {Drift("purchase", "user.device", DROPPED): 1}
        assert codes_of(value, **NESTED) == [(Reason.WRONG_TYPE, "user.device")]

    def test_what_a_required_column_or_only_a_key_is_read_from_is_not_dropped(self) -> None:
        rules = NESTED | {"invalid_optional": InvalidOptional.DROP}
        assert codes_of(dumps(foreign(user="u")), **rules) == [
            (Reason.WRONG_TYPE, "user"),
            (Reason.MISSING, "user.id"),
        ]
        keyed = rules | {"key_fields": ("$.order.id",)}
        assert codes_of(dumps(foreign(order=5)), **keyed) == [(Reason.WRONG_TYPE, "order")]

    def test_the_nearest_name_is_one_of_the_same_place(self) -> None:
        result = explain(
            dumps(foreign(user={"id": "u", "devcie": {}})),
            make_rules(**NESTED),
            make_rules().window(UNIX_SECONDS),
        )
        assert isinstance(result, tuple)
        assert result[0].message.endswith("did you mean user.device?")

    def test_a_key_may_be_found_deeper_too(self) -> None:
        rules = NESTED | {"key_fields": ("$.user.event.id",)}
        value = dumps(foreign(user={"id": "u", "event": {"id": 7}}))
        assert row_of(value, **rules).key == dedup_key.of_producer(make_destination(), b"7")
        assert row_of(
            dumps(foreign()), **NESTED, key_fields=("name",)
        ).key == dedup_key.of_producer(make_destination(), b"purchase")


ELEMENTS = {
    "fields": {
        "profile_id": ("events", 1, "user"),
        "event_json": ("events", 1, "params"),
        "event_name": ("a.b",),
    }
}


def elements(**changes: Any) -> bytes:
    event = {
        "application_id": 1111,
        "a.b": "purchase",
        "event_timestamp": UNIX_SECONDS,
        "events": [None, {"user": "user-1", "params": {"x": 1}}],
    }
    return dumps(event | changes)


class TestElements:
    def test_a_value_is_found_in_an_element_of_an_array_and_under_a_name_with_a_dot(self) -> None:
        expected = row_of(make_value(event_json={"x": 1}))
        assert row_of(elements(), **ELEMENTS).line == expected.line

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"events": []}, [(Reason.MISSING, "events[1].user")]),
            ({"events": [None]}, [(Reason.MISSING, "events[1].user")]),
            ({"events": [None, None]}, [(Reason.MISSING, "events[1].user")]),
            (
                {"events": [None, 5]},
                [(Reason.WRONG_TYPE, "events[1]"), (Reason.MISSING, "events[1].user")],
            ),
            ({"events": {}}, [(Reason.WRONG_TYPE, "events"), (Reason.MISSING, "events[1].user")]),
            ({"events": "x"}, [(Reason.WRONG_TYPE, "events"), (Reason.MISSING, "events[1].user")]),
            ({"a.b": {}}, [(Reason.WRONG_TYPE, "['a.b']")]),
        ],
        ids=str,
    )
    def test_faults_name_the_element(
        self, changes: dict[str, Any], expected: list[tuple[Reason, str]]
    ) -> None:
        assert codes_of(elements(**changes), **ELEMENTS) == expected

    @pytest.mark.parametrize(
        ("events", "field"),
        [
            ([{}, {"user": "u"}], "events[0]"),
            ([None, {"user": "u"}, {"user": "v"}], "events[2]"),
            ([None, {"user": "u", "x": 1}], "events[1].x"),
        ],
        ids=str,
    )
    def test_an_element_that_no_path_leads_to_is_an_unknown_field(
        self, events: list[Any], field: str
    ) -> None:
        value = elements(events=events)
        assert codes_of(value, **ELEMENTS) == [(Reason.UNKNOWN_FIELD, field)]
        row_of(value, **ELEMENTS, unknown_fields=UnknownFields.IGNORE)


WHOLE = {
    "fields": {"event_json": ("properties",), "profile_id": ("properties", "user_id")},
    "key_fields": ("$.properties.event.id",),
}


def whole(properties: object) -> bytes:
    return make_value(profile_id=..., properties=properties)


class TestWholes:
    """A whole object beside a part of it."""

    def test_a_part_is_read_and_the_whole_is_passed_on_byte_for_byte(self) -> None:
        properties = {"user_id": "user-1", "event": {"id": 7}, "other": [1]}
        row = row_of(whole(properties), **WHOLE)
        assert cells_of(row)["event_json"] == json.dumps(properties)
        assert cells_of(row)["profile_id"] == "user-1"
        assert row.key == dedup_key.of_producer(make_destination(), b"7")

    def test_a_part_is_read_from_an_object_in_text_too(self) -> None:
        text = json.dumps({"user_id": "user-1", "event": {"id": "7"}})
        row = row_of(whole(text), **WHOLE)
        assert (cells_of(row)["event_json"], cells_of(row)["profile_id"]) == (text, "user-1")
        assert row.key == dedup_key.of_producer(make_destination(), b"7")

    @pytest.mark.parametrize(
        ("properties", "expected"),
        [
            (None, [(Reason.MISSING, "properties.user_id")]),
            ({}, [(Reason.MISSING, "properties.user_id")]),
            ({"user_id": {}}, [(Reason.WRONG_TYPE, "properties.user_id")]),
            (5, [(Reason.MISSING, "properties.user_id"), (Reason.WRONG_TYPE, "properties")]),
        ],
        ids=str,
    )
    def test_each_fault_is_named_once(
        self, properties: object, expected: list[tuple[Reason, str]]
    ) -> None:
        assert set(codes_of(whole(properties), **WHOLE)) == set(expected)

    def test_a_key_that_is_no_scalar_counts_as_none(self) -> None:
        row = row_of(whole({"user_id": "user-1", "event": {"id": {}}}), **WHOLE)
        assert row.key == dedup_key.of_line(row.destination, row.line)


class TestExactColumns:
    def test_rows_that_fill_other_columns_have_another_destination_and_key(self) -> None:
        os_name, device = (
            row_of(make_value(**{name: "x"}), columns=ColumnChoice.EXACT)
            for name in ("os_name", "device_type")
        )
        assert os_name.line == device.line
        assert os_name.destination != device.destination
        assert os_name.key != device.key

    def test_the_header_names_what_is_filled_and_nothing_else(self) -> None:
        row = row_of(make_value(os_name="ios", event_json={"a": 1}), columns=ColumnChoice.EXACT)
        names, cells = parse_csv(header(row.destination) + row.line)
        assert names == [
            "application_id",
            "profile_id",
            "event_name",
            "event_timestamp",
            "event_json",
            "os_name",
        ]
        assert cells == ["1111", "user-1", "purchase", str(UNIX_SECONDS), '{"a": 1}', "ios"]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(CHARACTERS, max_size=4),
    st.just({}),
    st.just([]),
)


@examples(300)
@given(
    st.dictionaries(st.sampled_from(["name", "user", "event_name", "x"]), VALUES, max_size=3),
    st.dictionaries(
        st.sampled_from(["id", "device", "x"]),
        VALUES | st.dictionaries(st.just("os"), VALUES),
        max_size=3,
    ),
    st.sampled_from(UnknownFields),
)
def test_both_passes_agree_on_nested_records(
    changes: dict[str, Any], user: dict[str, Any], unknown_fields: UnknownFields
) -> None:
    value = dumps(foreign(user={"id": "u"} | user) | changes)
    rules = make_rules(**NESTED, unknown_fields=unknown_fields, constants={"mcc": "1"})
    rows, rejections = Intake(rules).read(make_assignment(), [FakeRecord(0, value)], now_at())
    slow = explain(value, rules, rules.window(UNIX_SECONDS))
    if isinstance(slow, tuple):
        assert rejections[0].faults == slow
    else:
        cells = {name: text for name, text in cells_of(rows[0]).items() if text}
        assert cells == slow.texts


def test_the_builder_s_events_have_a_name() -> None:
    assert make_event()["event_name"] == "purchase"


@examples(300)
@given(
    st.one_of(
        VALUES,
        st.dictionaries(st.sampled_from(["user_id", "event", "x"]), VALUES, max_size=3),
        st.dictionaries(st.sampled_from(["user_id", "x"]), VALUES, max_size=2).map(json.dumps),
    ),
    st.one_of(VALUES, st.lists(st.dictionaries(st.sampled_from(["os", "x"]), VALUES), max_size=3)),
    st.sampled_from(UnknownFields),
)
def test_both_passes_agree_on_wholes_and_elements(
    properties: Any, devices: Any, unknown_fields: UnknownFields
) -> None:
    fields = {**WHOLE["fields"], "os_name": ("devices", 0, "os")}  # type: ignore[dict-item]
    rules = make_rules(
        fields=fields, key_fields=("$.properties.event",), unknown_fields=unknown_fields
    )
    value = make_value(profile_id=..., properties=properties, devices=devices)
    rows, rejections = Intake(rules).read(make_assignment(), [FakeRecord(0, value)], now_at())
    slow = explain(value, rules, rules.window(UNIX_SECONDS))
    if isinstance(slow, tuple):
        assert rejections[0].faults == slow
    else:
        assert {name: text for name, text in cells_of(rows[0]).items() if text} == slow.texts
        named = isinstance(slow.producer_key, str) and dedup_key.of_producer(
            make_destination(), slow.producer_key.encode()
        )
        assert rows[0].key == (named or dedup_key.of_line(rows[0].destination, rows[0].line))

"""What counts as a repetition, from the settings of a route to its window."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import UNIX_SECONDS, FakeRecord, make_assignment, now_at
from worker.core.counters.counters import ContractDrift
from worker.core.model.fault import Reason, Rejection
from worker.core.model.row import KeySource, Row
from worker.core.route import Route
from worker.daemon.pipeline_parts import route_parts
from worker.settings.schema import Settings

EVENT = {"application_id": 1, "profile_id": "u", "event_name": "film_watched"}
PROFILE = {"application_id": 1, "profile_id": "u", "attributes": {"visits": 1}}


def route(**changes: Any) -> Route:
    """The parts of a route with these settings."""
    top = {"dedup": changes.pop("common")} if "common" in changes else {}
    settings = Settings.model_validate(
        {
            "routes": [{"topic": "t"} | changes],
            "appmetrica": {"applications": {number: {"post_api_key": "a-key"} for number in "12"}},
        }
        | top
    )
    return route_parts(settings, settings.resolved_routes()[0])


def records(*values: dict[str, Any], header: str | None = None) -> list[FakeRecord]:
    """Records; the field `key` of a value becomes a header of this name."""
    made = []
    for offset, value in enumerate(values):
        fields = dict(value)
        headers = () if header is None else ((header, str(fields.pop("key")).encode()),)
        made.append(FakeRecord(offset, json.dumps(fields).encode(), headers=headers))
    return made


def read(
    parts: Route, *values: dict[str, Any], header: str | None = None
) -> tuple[list[Row], list[Rejection], ContractDrift]:
    drift = ContractDrift()
    chunk = records(*values, header=header)
    rows, rejections = parts.intake.read(make_assignment(), chunk, now_at(), drift)
    return rows, rejections, drift


def delivered(parts: Route, *values: dict[str, Any], header: str | None = None) -> int:
    """How many of these records would be sent, each delivered before the next one comes."""
    count = 0
    for row in read(parts, *values, header=header)[0]:
        fresh = parts.window.admit([row], 0.0).fresh
        parts.window.deliver([row.key for row in fresh], 0.0)
        count += len(fresh)
    return count


def event(**fields: Any) -> dict[str, Any]:
    return EVENT | {"event_timestamp": UNIX_SECONDS} | fields


class TestContent:
    def test_a_profile_that_returns_to_an_old_value_is_delivered_each_time(self) -> None:
        states = [PROFILE | {"attributes": {"subscribed": on}} for on in (True, False, True)]
        assert delivered(route(resource="profiles"), *states) == 3

    def test_a_counter_that_adds_the_same_number_is_delivered_each_time(self) -> None:
        assert delivered(route(resource="profiles"), PROFILE, PROFILE, PROFILE) == 3

    def test_profiles_in_flight_are_not_linked_to_each_other(self) -> None:
        parts = route(resource="profiles")
        rows = read(parts, PROFILE, PROFILE)[0]
        assert parts.window.admit(rows, 0.0).fresh == rows
        assert parts.window.take_back(rows) == []

    def test_a_profile_with_its_producer_s_key_is_a_duplicate_of_its_repetition(self) -> None:
        again = PROFILE | {"key": 7}
        assert delivered(route(resource="profiles"), again, again, header="event-id") == 1

    def test_events_with_a_time_are_duplicates_by_content_unless_the_route_says_no(self) -> None:
        assert delivered(route(), event(), event()) == 1
        assert delivered(route(dedup={"content": False}), event(), event()) == 2

    def test_in_an_envelope_only_resources_with_a_time_have_content_as_their_key(self) -> None:
        parts = route(form="envelope")
        profile = {"type": "profiles", "data": PROFILE}
        wrapped = {"type": "events", "data": event()}
        assert delivered(parts, profile, profile) == 2
        assert delivered(parts, wrapped, wrapped) == 1

    def test_a_profile_s_record_that_is_received_again_is_its_own_duplicate(self) -> None:
        parts = route(resource="profiles")
        (first,) = read(parts, PROFILE)[0]
        (again,) = read(parts, PROFILE)[0]
        parts.window.admit([first], 0.0)
        parts.window.deliver([first.key], 0.0)
        assert parts.window.admit([again], 0.0).duplicates == [again]

    def test_another_record_at_the_place_of_a_lost_one_is_no_duplicate(self) -> None:
        chunk = records(PROFILE)
        later = replace(chunk[0], timestamp=chunk[0].timestamp + 1)
        parts = route(resource="profiles")
        rows = parts.intake.read(make_assignment(), [*chunk, later], now_at())[0]
        assert rows[0].key != rows[1].key


class TestTheDefaultHeader:
    @pytest.mark.parametrize("header", ["event-id", "Event-ID", "EVENT-ID"])
    def test_event_id_is_the_key_in_any_case_without_a_setting(self, header: str) -> None:
        first, other = event(event_name="a", key=7), event(event_name="b", key=7)
        rows = read(route(), first, other, header=header)[0]
        assert rows[0].key == rows[1].key
        assert {row.key_source for row in rows} == {KeySource.KEY}

    def test_records_without_it_are_not_counted_because_nobody_asked_for_it(self) -> None:
        rows, _, drift = read(route(), event())
        assert (rows[0].key_source, drift.without_key) == (KeySource.CONTENT, Counter())

    def test_a_cloud_event_keeps_its_source_and_id(self) -> None:
        cloud = {"specversion": "1.0", "type": "t", "source": "s", "data": event()}
        parts = route(form="cloudevents")
        chunk = [cloud | {"id": "1", "key": 7}, cloud | {"id": "2", "key": 7}]
        rows = read(parts, *chunk, header="event-id")[0]
        assert rows[0].key != rows[1].key

    def test_a_key_in_the_value_replaces_it(self) -> None:
        parts = route(common={"key_field": "id"}, unknown_fields="ignore")
        rows = read(parts, event(id=1, key=7), event(id=2, key=7), header="event-id")[0]
        assert rows[0].key != rows[1].key

    def test_null_switches_it_off(self) -> None:
        rows, _, drift = read(route(common={"key_header": None}), event(key=7), header="event-id")
        assert (rows[0].key_source, drift.without_key) == (KeySource.CONTENT, Counter())


class TestWithoutAKey:
    @pytest.mark.parametrize(
        ("rule", "source"), [("content", KeySource.CONTENT), ("none", KeySource.RECORD)]
    )
    def test_it_is_counted_and_treated_as_the_route_says(
        self, rule: str, source: KeySource
    ) -> None:
        parts = route(dedup={"key_header": "x-id", "without_key": rule})
        rows, _, drift = read(parts, event())
        assert [row.key_source for row in rows] == [source]
        assert drift.without_key == {"missing": 1}

    def test_it_is_rejected_with_the_name_of_the_header(self) -> None:
        parts = route(common={"key_header": "X-Id", "without_key": "reject"})
        rows, (rejection,), drift = read(parts, event())
        fault = rejection.faults[0]
        assert (rows, fault.reason, fault.field) == ([], Reason.MISSING, "X-Id")
        assert drift.without_key == {"missing": 1}

    @pytest.mark.parametrize(
        ("given", "why"),
        [(None, "missing"), ("", "missing"), (1.5, "wrong_type"), ([], "wrong_type")],
    )
    def test_the_reason_is_that_the_field_is_missing_or_of_a_wrong_type(
        self, given: object, why: str
    ) -> None:
        _, _, drift = read(route(dedup={"key_field": "id"}), event(id=given))
        assert drift.without_key == {why: 1}

    def test_profiles_without_a_key_are_never_keyed_by_content(self) -> None:
        parts = route(resource="profiles", dedup={"key_header": "x-id"})
        assert delivered(parts, PROFILE, PROFILE) == 2


class TestScopeAndParts:
    def test_a_key_counts_within_resource_and_application(self) -> None:
        parts = route(form="envelope", common={"key_header": "event-id"})
        order = {"application_id": 1, "profile_id": "u", "event_timestamp": UNIX_SECONDS}
        purchase = {"type": "events", "data": order | {"event_name": "buy"}, "key": 7}
        profile = {"type": "profiles", "data": PROFILE, "key": 7}
        other = {"type": "events", "data": event(application_id=2), "key": 7}
        assert delivered(parts, purchase, profile, other, purchase, header="event-id") == 3

    def test_several_fields_make_one_key(self) -> None:
        parts = route(dedup={"key_fields": ["order_id", "what"]}, unknown_fields="ignore")
        parcels = [("7", "buy"), ("7", "refund"), ("8", "buy"), ("7", "buy")]
        values = [event(order_id=order, what=what) for order, what in parcels]
        assert delivered(parts, *values) == 3

    def test_the_fields_of_a_key_do_not_run_into_each_other(self) -> None:
        parts = route(dedup={"key_fields": ["a", "b"]}, unknown_fields="ignore")
        rows = read(parts, event(a="1", b="23"), event(a="12", b="3"), event(a="11", b="2:3"))[0]
        assert len({row.key for row in rows}) == 3

    def test_a_key_of_several_fields_needs_all_of_them(self) -> None:
        parts = route(dedup={"key_fields": ["a", "b"]}, unknown_fields="ignore")
        rows, _, drift = read(parts, event(a="1"), event(a="1", b=None), event(a="1", b=1.5))
        assert {row.key_source for row in rows} == {KeySource.CONTENT}
        assert drift.without_key == {"missing": 2, "wrong_type": 1}

    @pytest.mark.parametrize("wrap", [dict, json.dumps], ids=["object", "text"])
    def test_a_key_leads_through_a_column(self, wrap: Any) -> None:
        parts = route(dedup={"key_field": "$.event_json.uid"})
        values = [event(event_json=wrap({"uid": uid, "n": n})) for uid, n in ((7, 1), (7, 2))]
        rows, rejections, drift = read(parts, *values)
        assert rejections == []
        assert rows[0].key == rows[1].key
        assert rows[0].key_source is KeySource.KEY
        assert b"uid" in rows[0].line, "the column is sent whole"
        assert drift.without_key == Counter()

    @pytest.mark.parametrize("value", [..., None, {}, {"uid": None}], ids=str)
    def test_a_column_without_the_key_in_it_is_a_record_without_a_key(self, value: Any) -> None:
        parts = route(dedup={"key_field": "$.event_json.uid"})
        rows, _, drift = read(parts, event(**({} if value is ... else {"event_json": value})))
        assert (rows[0].key_source, drift.without_key) == (KeySource.CONTENT, {"missing": 1})

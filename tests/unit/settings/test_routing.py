"""Routes: what they take from the top, and the faults of each of their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.loading import assert_fault, faults, loaded
from worker.core.post_api.resource import RESOURCES
from worker.settings.record_shape import constant_texts


class TestRoutes:
    def test_a_route_takes_what_it_leaves_open_from_the_top(self, tmp_path: Path) -> None:
        text = """
            routes:
              - {topic: films, batching: {rows_max: 7}, dedup: {key_field: id},
                 dead_letter: {topic: films.dlq}}
              - {topic: games, parking: {enabled: false}}
            batching: {linger_seconds: 3}
            dedup: {key_header: event-id}
        """
        films, games, home = loaded(tmp_path, text).settings.resolved_routes()
        assert (
            films.batching.rows_max,
            films.batching.linger_seconds,
            films.dead_letter.topic,
        ) == (7, 3, "films.dlq")
        assert (films.dedup.key_field, films.dedup.key_header) == ("id", None)
        assert (games.batching.rows_max, games.dedup.key_header) == (5000, "event-id")
        assert games.dead_letter.topic == "offline-events.dlq"
        assert (films.parking_topic, games.parking_topic) == ("films.parked", None)
        assert (home.topic, home.parked_from, home.parking_topic) == ("films.parked", "films", None)
        assert (home.batching, home.dedup, home.dead_letter) == (
            films.batching,
            films.dedup,
            films.dead_letter,
        )

    @pytest.mark.parametrize(
        ("route", "ordered", "parks"),
        [
            ("resource: profiles", {"profiles"}, False),
            ("resource: profiles, delivery: {ordered: false}", set(), True),
            ("resource: profiles, parking: {enabled: true}", {"profiles"}, True),
            ("resource: events", set(), True),
            ("resource: events, delivery: {ordered: true}", {"events"}, False),
            ("form: envelope", {"profiles"}, True),
            ("form: envelope, delivery: {ordered: true}", set(RESOURCES), False),
        ],
    )
    def test_profiles_are_ordered_and_what_is_ordered_does_not_park_unless_the_route_says_so(
        self, tmp_path: Path, route: str, ordered: set[str], parks: bool
    ) -> None:
        text = f"routes: [{{topic: users, {route}}}]"
        first, *parking = loaded(tmp_path, text).settings.resolved_routes()
        assert first.ordered_resources == ordered
        assert bool(parking) == parks
        assert all(home.ordered_resources == ordered for home in parking)

    def test_a_route_says_what_its_records_look_like_and_its_parking_topic_takes_the_same(
        self, tmp_path: Path
    ) -> None:
        text = """
            routes:
              - topic: shop
                resource: ecommerce
                form: cloudevents
                constants: {application_id: 1111, cart_item_quantity: "1.50",
                            payload: '{"from":"tv"}', product_promo_codes: "[a]"}
                fields: {order_id: $.order.id, profile_id: $.user}
                batching: {columns: exact}
        """
        shop, home = loaded(tmp_path, text).settings.resolved_routes()
        assert (shop.resource, shop.form, shop.batching.columns) == (
            "ecommerce",
            "cloudevents",
            "exact",
        )
        assert constant_texts(shop.constants) == {
            "application_id": "1111",
            "cart_item_quantity": "1.50",
            "payload": '{"from":"tv"}',
            "product_promo_codes": "[a]",
        }
        assert (home.resource, home.form, home.constants, home.fields) == (
            shop.resource,
            shop.form,
            shop.constants,
            shop.fields,
        )


CASES: dict[str, tuple[str, dict[str, str], str, str]] = {
    "two names for the key": (
        "dedup: {key_header: a, key_field: b}",
        {},
        "dedup",
        "exclude each other",
    ),
    "key that is no path": (
        "dedup: {key_field: $.}",
        {},
        "dedup.key_field",
        "$. for offline-events must be a path",
    ),
    "key through a name that is empty": (
        "routes: [{topic: a, dedup: {key_field: $.a..b}}]",
        {},
        "routes.0.dedup.key_field",
        "$.a..b for a must be a path",
    ),
    "key through a scalar column": (
        "routes: [{topic: a, dedup: {key_field: $.event_name.id}}]",
        {},
        "routes.0.dedup.key_field",
        "$.event_name.id for a can't be read beside event_name",
    ),
    "key through a scalar column of a resource in an envelope": (
        "routes: [{topic: a, form: envelope, dedup: {key_field: $.order_id.id}}]",
        {},
        "routes.0.dedup.key_field",
        "can't be read beside order_id",
    ),
    "key that is an object": (
        "dedup: {key_field: event_json}",
        {},
        "dedup.key_field",
        "is no key: event_json holds",
    ),
    "one of the key's fields is no path": (
        "dedup: {key_fields: [id, $.]}",
        {},
        "dedup.key_fields.1",
        "must be a path",
    ),
    "one of the key's fields leads through another": (
        "dedup: {key_fields: [$.order, $.order.id]}",
        {},
        "dedup.key_fields.1",
        "can't be read beside order",
    ),
    "a field of the key named twice": (
        "dedup: {key_fields: [id, id]}",
        {},
        "dedup.key_fields.1",
        "is named twice",
    ),
    "field and fields of the key": (
        "dedup: {key_field: a, key_fields: [b, c]}",
        {},
        "dedup",
        "key_field and key_fields exclude each other",
    ),
    "content as the key of profiles": (
        "routes: [{topic: a, resource: profiles, dedup: {content: true}}]",
        {},
        "routes.0.dedup.content",
        "profiles of a have no time of their own",
    ),
    "selection by a wildcard": (
        "routes: [{topic: a, select: {'$.*': [b]}}]",
        {},
        "routes.0.select.$.*",
        "a wildcard leads to many values",
    ),
    "selection of nothing": (
        "routes: [{topic: a, select: {$.type: []}}]",
        {},
        "routes.0.select.$.type",
        "at least 1",
    ),
    "selection of a number with a fraction": (
        "routes: [{topic: a, select: {$.type: [1.5]}}]",
        {},
        "routes.0.select.$.type.0",
        "",
    ),
    "a time of profiles": (
        "routes: [{topic: a, resource: profiles, time: {unit: auto}}]",
        {},
        "routes.0.time",
        "profiles have no time: remove it",
    ),
    "a unit of time that doesn't exist": (
        "routes: [{topic: a, time: {unit: minutes}}]",
        {},
        "routes.0.time.unit",
        "seconds",
    ),
    "a time at no path": (
        "routes: [{topic: a, time: {field: '$.events[*].at'}}]",
        {},
        "routes.0.time.field",
        "a wildcard leads to many values",
    ),
    "two places of the time": (
        "routes: [{topic: a, fields: {event_timestamp: $.at}, time: {field: $.ts}}]",
        {},
        "routes.0.time.field",
        "is set in fields.event_timestamp too",
    ),
    "a time at the path of another column": (
        "routes: [{topic: a, fields: {event_name: $.x}, time: {field: $.x.at}}]",
        {},
        "routes.0.time.field",
        "$.x.at and x can't both be read",
    ),
    "names of an envelope without an envelope": (
        "routes: [{topic: a, envelope: {data_field: payload}}]",
        {},
        "routes.0.envelope",
        "has an effect only with form: envelope",
    ),
    "a type of a resource that doesn't exist": (
        "routes: [{topic: a, form: envelope, envelope: {types: {bought: purchases}}}]",
        {},
        "routes.0.envelope.types.bought",
        "revenue",
    ),
    "one name for both fields of an envelope": (
        "routes: [{topic: a, form: envelope, envelope: {type_field: data}}]",
        {},
        "routes.0.envelope",
        "type_field and data_field must differ",
    ),
    "topic with two routes": (
        "routes: [{topic: a}, {topic: a}]",
        {},
        "routes.1.topic",
        "topic a has two routes: use",
    ),
    "dead letters into a read topic": (
        "routes: [{topic: a}]\ndead_letter: {topic: a}",
        {},
        "dead_letter.topic",
        "is also read by a route",
    ),
    "one parking topic for two": (
        "routes: [{topic: a}, {topic: b}]\nparking: {topic: p}",
        {},
        "routes.1.parking.topic",
        "topic p is the parking topic of a and b, and has two routes",
    ),
    "a route's batch above the span": (
        "routes: [{topic: a, batching: {rows_max: 30000}}]",
        {},
        "routes.0.batching.rows_max",
        "30000 for a must be at most limits.span_records_max (20000)",
    ),
    "a parked topic that is read": (
        "routes: [{topic: b, parking: {enabled: false}}, {topic: a}, {topic: a.parked, parking: "
        "{enabled: false}}]",
        {},
        "routes.1.parking.topic",
        "topic a.parked is the parking topic of a, and has two routes",
    ),
    "a route's window above that of all": (
        "routes: [{topic: a, dedup: {window_rows_max: 2000}}]\ndedup: {window_rows_max: 1000}",
        {},
        "routes.0.dedup.window_rows_max",
        "2000 for a must be at most dedup.window_rows_max of all topics (1000)",
    ),
    "a constant that no column takes": (
        "routes: [{topic: a, constants: {aplication_id: 1}}]",
        {},
        "routes.0.constants.aplication_id",
        "events has no such column; did you mean application_id?",
    ),
    "a constant of a wrong type": (
        "routes: [{topic: a, constants: {mcc: home}}]",
        {},
        "routes.0.constants.mcc",
        "found 'home'",
    ),
    "a constant out of range": (
        "routes: [{topic: a, constants: {mcc: 18446744073709551616}}]",
        {},
        "routes.0.constants.mcc",
        "an integer from -9223372036854775808",
    ),
    "a constant decimal that is a float": (
        "routes: [{topic: a, resource: revenue, constants: {price: 0.1}}]",
        {},
        "routes.0.constants.price",
        "string",
    ),
    "a constant time": (
        "routes: [{topic: a, constants: {event_timestamp: 5}}]",
        {},
        "routes.0.constants.event_timestamp",
        "can't be the same for every event",
    ),
    "an empty constant": (
        "routes: [{topic: a, constants: {os_name: ''}}]",
        {},
        "routes.0.constants.os_name",
        "is empty",
    ),
    "two constant identities": (
        "routes: [{topic: a, constants: {profile_id: u, appmetrica_device_id: 1}}]",
        {},
        "routes.0.constants",
        "exclude each other",
    ),
    "a field that no column takes": (
        "routes: [{topic: a, form: envelope, fields: {evnt_name: $.name}}]",
        {},
        "routes.0.fields.evnt_name",
        "no resource has such a column; did you mean event_name?",
    ),
    "a field and a constant": (
        "routes: [{topic: a, constants: {mcc: 1}, fields: {mcc: $.c}}]",
        {},
        "routes.0.fields.mcc",
        "is set in constants too",
    ),
    "a path that is none": (
        "routes: [{topic: a, fields: {mcc: 'a[0]'}}]",
        {},
        "routes.0.fields.mcc",
        "must be a path, as in $.name",
    ),
    "a path with a wildcard": (
        "routes: [{topic: a, fields: {event_json: '$.events[*].params'}}]",
        {},
        "routes.0.fields.event_json",
        "a wildcard leads to many values",
    ),
    "a path with a filter": (
        "routes: [{topic: a, fields: {event_json: '$.events[?(@.a)]'}}]",
        {},
        "routes.0.fields.event_json",
        "a filter or an expression is not supported",
    ),
    "a path to an object and to an array": (
        "routes: [{topic: a, fields: {mcc: '$.x[0]', event_name: $.x.name}}]",
        {},
        "routes.0.fields.event_name",
        "$.x.name and x[0] can't both be read",
    ),
    "paths that clash": (
        "routes: [{topic: a, fields: {os_name: $.data, event_name: $.data.name}}]",
        {},
        "routes.0.fields.event_name",
        "$.data.name and data can't both be read",
    ),
    "a path to another column": (
        "routes: [{topic: a, fields: {os_name: $.os_version}}]",
        {},
        "routes.0.fields.os_name",
        "can't both be read",
    ),
    "a resource that doesn't exist": (
        "routes: [{topic: a, resource: event}]",
        {},
        "routes.0.resource",
        "'events'",
    ),
    "a form that doesn't exist": (
        "routes: [{topic: a, form: avro}]",
        {},
        "routes.0.form",
        "'cloudevents'",
    ),
    "no route": (
        "routes: []",
        {},
        "routes",
        "required: at least one route, as in routes: [{topic: offline-events}]",
    ),
}


@pytest.mark.parametrize(("text", "environment", "path", "message"), CASES.values(), ids=CASES)
def test_a_fault_names_its_path_and_what_is_wrong(
    tmp_path: Path, text: str, environment: dict[str, str], path: str, message: str
) -> None:
    assert_fault(tmp_path, text, environment, (path, message))


def test_all_that_is_wrong_with_a_route_s_shape_is_reported_each_with_its_own_line(
    tmp_path: Path,
) -> None:
    text = (
        "routes:\n  - topic: a\n    constants:\n      mcc: 18446744073709551616\n      mnc: x\n"
        "    fields:\n      nope: $.a\n      os_name: b\n"
    )
    file = tmp_path / "config.yaml"
    assert [(fault.path, fault.source) for fault in faults(tmp_path, text)] == [
        ("routes.0.fields.nope", f"{file}:7"),
        ("routes.0.constants.mcc", f"{file}:4"),
        ("routes.0.constants.mnc", f"{file}:5"),
        ("routes.0.fields.os_name", f"{file}:8"),
    ]

"""What producers write, as `validate` judges it: identity, types, time, selection, forms."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from tests.builders import CONFLUENT, OUTBOX_ENVELOPE
from worker.cli.main import cli

NOW = int(time.time())
EVENT = {"application_id": 1, "profile_id": "u", "event_name": "e", "event_timestamp": NOW}
PROFILE = {"application_id": 1, "profile_id": "u", "attributes": {"subscribed": True}}
REVENUE = {
    "application_id": 1,
    "profile_id": "u",
    "event_timestamp": NOW,
    "revenue_event_type": "refund",
    "price": "1",
    "currency": "RUB",
    "product_id": "p",
}
DELIVERED, DUPLICATE = "delivered", "duplicate"
BOUGHT = REVENUE | {"order_id": "1", "revenue_event_type": "one_time_purchase"}
# Without a field, or with it.
NO_TIME = {name: value for name, value in EVENT.items() if name != "event_timestamp"}


class Raw(str):
    """A value as text, and not as JSON of it."""


def kcat(value: object, headers: list[str] | None = None) -> bytes:
    """A line as `kcat -J` prints it."""
    if value is None:
        return orjson.dumps({"payload": None, "headers": headers or []})
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    if isinstance(value, Raw):
        raw = value.encode()
    return orjson.dumps(
        {"payload_base64": base64.b64encode(raw).decode(), "headers": headers or []}
    )


def endings(route: dict[str, Any], *lines: bytes) -> list[str]:
    """The ending of each record, or the reason and the field of its first fault."""
    route_text = json.dumps([{"topic": "t", **route}])
    arguments = ["-", "--each", "--json", "--format", "kcat", "--set", f"routes={route_text}"]
    stdin = b"\n".join(lines) + b"\n"
    result = CliRunner().invoke(cli, ["validate", *arguments], input=stdin)
    assert result.exit_code in (0, 65), result.output
    documents = [orjson.loads(line) for line in result.stdout.splitlines()][:-1]
    return [
        f"{one['faults'][0]['reason']} {one['faults'][0]['field']}".strip()
        if one["faults"]
        else one["ending"]
        for one in documents
    ]


def with_json(event: dict[str, Any], **texts: str) -> Raw:
    """The event with these fields, each given as JSON."""
    fields = "".join(f',"{name}":{text}' for name, text in texts.items())
    return Raw(f"{json.dumps(event)[:-1]}{fields}}}")


IDENTITY: dict[str, tuple[dict[str, Any], list[bytes], list[str]]] = {
    "equal profiles are three records": (
        {"resource": "profiles"},
        [kcat(PROFILE)] * 3,
        [DELIVERED] * 3,
    ),
    "equal profiles with one id are repetitions": (
        {"resource": "profiles"},
        [kcat(PROFILE, ["Event-ID", "1"])] * 2,
        [DELIVERED, DUPLICATE],
    ),
    "equal events are repetitions": ({}, [kcat(EVENT)] * 2, [DELIVERED, DUPLICATE]),
    "equal events with two ids are two": (
        {},
        [kcat(EVENT, ["event-id", number]) for number in "12"],
        [DELIVERED] * 2,
    ),
    "content is no key where the route says so": (
        {"dedup": {"content": False}},
        [kcat(EVENT)] * 2,
        [DELIVERED] * 2,
    ),
    "an order's number is one key for purchase and refund": (
        {"resource": "revenue", "dedup": {"key_field": "order_id"}},
        [kcat(BOUGHT), kcat(BOUGHT | {"revenue_event_type": "refund"})],
        [DELIVERED, DUPLICATE],
    ),
    "several fields tell them apart": (
        {"resource": "revenue", "dedup": {"key_fields": ["order_id", "revenue_event_type"]}},
        [kcat(BOUGHT), kcat(BOUGHT | {"revenue_event_type": "refund"}), kcat(BOUGHT)],
        [DELIVERED, DELIVERED, DUPLICATE],
    ),
    "a key leads through a column": (
        {"dedup": {"key_field": "$.event_json.uid"}},
        [kcat(EVENT | {"event_json": {"uid": 1}, "os_name": name}) for name in ("a", "b")],
        [DELIVERED, DUPLICATE],
    ),
    "a record without a key is refused where the route says so": (
        {"dedup": {"key_field": "id", "without_key": "reject"}},
        [kcat(EVENT), kcat(EVENT | {"id": 1.5})],
        ["missing id", "wrong_type id"],
    ),
}
TYPES: dict[str, tuple[dict[str, Any], str, str]] = {
    "an integer for a string": ({}, with_json(EVENT, os_version="14"), DELIVERED),
    "a float for a string": ({}, with_json(EVENT, os_version="14.0"), "wrong_type os_version"),
    "an integer as the profile": ({}, with_json(EVENT | {"profile_id": 42}), DELIVERED),
    "integers for ids of revenue": (
        {"resource": "revenue"},
        with_json(REVENUE, transaction_id="1000000123456789", order_id="7"),
        DELIVERED,
    ),
    "an integral float": ({}, with_json(EVENT, mcc="250.0", mnc="1e0"), DELIVERED),
    "a fraction for an integer": ({}, with_json(EVENT, mcc="250.5"), "wrong_type mcc"),
    "an operator that phones report": ({}, with_json(EVENT, mcc="65535", mnc="-1"), DELIVERED),
    "PHP's empty object": ({}, with_json(EVENT, event_json="[]"), DELIVERED),
    "an array for an object": ({}, with_json(EVENT, event_json="[1]"), "wrong_type event_json"),
    "11 digits before the point": (
        {"resource": "revenue"},
        with_json(REVENUE | {"price": "1" * 11}),
        "out_of_range price",
    ),
    "the account of the sample": (
        {"resource": "revenue"},
        with_json(REVENUE, account_id='"a"'),
        DELIVERED,
    ),
    "an unknown type of device": ({}, with_json(EVENT, device_type='"unknown"'), DELIVERED),
    "a bad optional value": ({}, with_json(EVENT, mcc='"x"'), "wrong_type mcc"),
    "a bad optional value that is dropped": (
        {"invalid_optional": "drop"},
        with_json(EVENT, mcc='"x"'),
        DELIVERED,
    ),
    "a bad required value is not dropped": (
        {"invalid_optional": "drop"},
        with_json(EVENT | {"event_name": True}),
        "wrong_type event_name",
    ),
    **{
        f"the device id {text}": (
            {},
            with_json(
                {n: v for n, v in EVENT.items() if n != "profile_id"}, appmetrica_device_id=text
            ),
            ending,
        )
        for text, ending in {
            "18446744073709551615": DELIVERED,
            "-1": "out_of_range appmetrica_device_id",
            '"-1"': "wrong_type appmetrica_device_id",
            '"ffffffffffffffff"': "wrong_type appmetrica_device_id",
            "0": "out_of_range appmetrica_device_id",
            "1.8e19": "out_of_range appmetrica_device_id",
        }.items()
    },
    "milliseconds": (
        {},
        with_json(NO_TIME, event_timestamp=f"{NOW}000"),
        "milliseconds event_timestamp",
    ),
    "milliseconds of a route": (
        {"time": {"unit": "milliseconds"}},
        with_json(NO_TIME, event_timestamp=f"{NOW}000"),
        DELIVERED,
    ),
    "a float of seconds": ({"time": {}}, with_json(NO_TIME, event_timestamp=f"{NOW}.5"), DELIVERED),
    "nanoseconds that are recognised": (
        {"time": {"unit": "auto", "field": "$.t[0]['a.b']"}},
        with_json(NO_TIME, t=f'[{{"a.b":{NOW}999999999}}]'),
        DELIVERED,
    ),
    "a time in no unit": (
        {"time": {"unit": "auto"}},
        with_json(NO_TIME, event_timestamp="20231114"),
        "out_of_range event_timestamp",
    ),
    "no time": ({"time": {"unit": "auto"}}, with_json(NO_TIME), "missing event_timestamp"),
    "the time of the record": ({"time": {"default": "record"}}, with_json(NO_TIME), DELIVERED),
}
NESTED = {"fields": {"event_json": "$.p", "profile_id": "$.p.user", "event_name": "$.e[0].n"}}
NESTED_EVENT = {
    "application_id": 1,
    "event_timestamp": NOW,
    "p": {"user": "u", "x": 1},
    "e": [{"n": "e"}],
}
FORMS: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "Confluent's framing": (
        {"framing": "confluent"},
        kcat(CONFLUENT + orjson.dumps(EVENT)),
        DELIVERED,
    ),
    "Confluent's framing without the setting": (
        {},
        kcat(CONFLUENT + orjson.dumps(EVENT)),
        "not_json",
    ),
    "a byte order mark": ({}, kcat(b"\xef\xbb\xbf" + orjson.dumps(EVENT)), DELIVERED),
    "UTF-16": ({}, kcat(json.dumps(EVENT).encode("utf-16")), "not_json"),
    "two objects": ({}, kcat(orjson.dumps(EVENT) * 2), "not_json"),
    "NaN": ({}, kcat(with_json(EVENT, mcc="NaN")), "not_json"),
    "names of an envelope": (
        {"form": "envelope", "envelope": {"type_field": "kind", "data_field": "body"}},
        kcat({"kind": "events", "body": json.dumps(EVENT)}),
        DELIVERED,
    ),
    "types of an envelope": (
        {"form": "envelope", "envelope": {"types": {"bought": "revenue"}}},
        kcat({"type": "bought", "data": REVENUE}),
        DELIVERED,
    ),
    "an unknown type": (
        {"form": "envelope"},
        kcat({"type": "bought", "data": {}}),
        "unknown_route type",
    ),
    "Connect's wrapper": (
        {"framing": "connect"},
        kcat({"schema": {}, "payload": EVENT}),
        DELIVERED,
    ),
    "Debezium's outbox": (
        {
            "framing": "connect",
            "form": "envelope",
            "envelope": {"type_field": "eventType", "data_field": "payload"},
        },
        kcat(OUTBOX_ENVELOPE),
        "unknown_route eventType",
    ),
    "a tombstone": ({}, kcat(None), "empty_value"),
    "a tombstone that is skipped": ({"tombstones": "skip"}, kcat(None), "skipped, tombstone"),
    "selected": (
        {"select": {"$.event_name": ["e"], "kind": ["a"]}},
        kcat(EVENT, ["Kind", "a"]),
        DELIVERED,
    ),
    "not selected": (
        {"select": {"kind": ["a"]}},
        kcat(EVENT, ["kind", "b"]),
        "skipped, not_selected",
    ),
    "paths": (NESTED, kcat(NESTED_EVENT), DELIVERED),
    "an element that no path leads to": (
        NESTED,
        kcat(NESTED_EVENT | {"e": [{"n": "e"}, {}]}),
        "unknown_field e[1]",
    ),
    "a constant that is repeated": (
        {"constants": {"os_name": "tv"}},
        kcat(EVENT | {"os_name": "tv"}),
        DELIVERED,
    ),
    "another value than a constant": (
        {"constants": {"os_name": "tv"}},
        kcat(EVENT | {"os_name": "ios"}),
        "out_of_range os_name",
    ),
}


@pytest.mark.parametrize(("route", "lines", "expected"), IDENTITY.values(), ids=IDENTITY)
def test_what_is_a_repetition(
    route: dict[str, Any], lines: list[bytes], expected: list[str]
) -> None:
    assert endings(route, *lines) == expected


@pytest.mark.parametrize(("route", "value", "expected"), TYPES.values(), ids=TYPES)
def test_what_is_valid(route: dict[str, Any], value: str, expected: str) -> None:
    assert endings(route, kcat(value)) == [expected]


@pytest.mark.parametrize(("route", "line", "expected"), FORMS.values(), ids=FORMS)
def test_what_a_record_may_look_like(route: dict[str, Any], line: bytes, expected: str) -> None:
    assert endings(route, line) == [expected]

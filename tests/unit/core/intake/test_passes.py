"""The two passes agree: what the fast one takes, the thorough one takes too, with the same line."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import UNIX_SECONDS, FakeRecord, make_event, make_rules, make_value, now_at
from tests.searches import CHARACTERS, examples
from tests.unit.core.intake.reading import read, row_of
from worker.core.intake.decode import Unknown, value_decoder
from worker.core.intake.explain import Cells, explain
from worker.core.intake.layout import Layout
from worker.core.intake.rules import UnknownFields
from worker.core.model.fault import Rejection
from worker.core.model.row import Row
from worker.core.post_api.resource import EVENTS

TEXTS = st.text(CHARACTERS, max_size=8) | st.sampled_from(
    ["", "a,b", '"', "\n", "::1", "1.2.3.4", "foreground", "{}", "[]", '{"a":1}', "007"]
)
INTEGERS = (
    st.sampled_from(
        [0, 1, 999, 1000, 1111, UNIX_SECONDS, UNIX_SECONDS * 1000, 2**63, 2**64 - 1, 2**64, -1]
    )
    | st.integers()
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    INTEGERS.map(str),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.one_of(LEAVES, st.lists(LEAVES, max_size=2), st.dictionaries(TEXTS, LEAVES, max_size=2))
NAMES = st.sampled_from(
    [
        *(column.name for column in EVENTS.columns),
        "profile_id",
        "appmetrica_device_id",
        "surprise",
        "id",
    ]
)
CHANGES = st.dictionaries(NAMES, VALUES, max_size=4)
REMOVED = st.sets(
    st.sampled_from(["application_id", "profile_id", "event_name", "event_timestamp"]), max_size=1
)
ROUTES = st.fixed_dictionaries(
    {
        "unknown_fields": st.sampled_from(UnknownFields),
        "key_fields": st.sampled_from([(), ("id",), ("event_name",), ("os_version", "id")]),
    }
)


def thorough(value: bytes) -> bytes:
    """The same event, written so that the fast pass gives up on it.

    A name is repeated, the first time with a wrong type.
    """
    return b'{"event_name":[],' + value.lstrip()[1:]


def assert_passes_agree(event: dict[str, object], routes: dict[str, Any]) -> None:
    value = json.dumps(event, ensure_ascii=False).encode()
    rules = make_rules(**routes)
    entry = read(FakeRecord(0, value), **routes)
    explained = explain(value, rules, rules.window(now_at().unix_seconds))
    if isinstance(explained, Cells):
        assert isinstance(entry, Row)
        slow = read(FakeRecord(0, thorough(value)), **routes)
        assert isinstance(slow, Row)
        seen = (slow.line, slow.destination, slow.key, slow.event_timestamp)
        assert seen == (entry.line, entry.destination, entry.key, entry.event_timestamp)
    else:
        assert isinstance(entry, Rejection)
        assert entry.faults == explained


def test_a_value_written_for_the_thorough_pass_is_refused_by_the_fast_one() -> None:
    rules = make_rules()
    decode, _ = value_decoder(rules, Layout.of(rules), Unknown.FORBID)
    assert isinstance(decode(make_value()), msgspec.Struct)
    with pytest.raises(msgspec.ValidationError):
        decode(thorough(make_value()))
    assert row_of(thorough(make_value())).line == row_of(make_value()).line


@examples(400)
@given(CHANGES, REMOVED, ROUTES)
def test_a_row_is_made_exactly_where_no_fault_is_found(
    changes: dict[str, object], removed: set[str], routes: dict[str, Any]
) -> None:
    event = {name: value for name, value in (make_event() | changes).items() if name not in removed}
    assert_passes_agree(event, routes)


VALID = st.fixed_dictionaries(
    {
        "application_id": st.sampled_from([1111, "1111", "001111"]),
        "event_name": st.text(CHARACTERS, min_size=1, max_size=8),
        "event_timestamp": st.integers(UNIX_SECONDS - 1_209_600, UNIX_SECONDS + 86_400),
    },
    optional={
        "event_json": st.none()
        | st.dictionaries(st.text(CHARACTERS, max_size=4), LEAVES, max_size=3),
        "session_type": st.sampled_from(["", None, "foreground", "background"]),
        "device_ipv6": st.sampled_from(["", None]) | st.ip_addresses().map(str),
        "mcc": st.none() | st.integers(0, 999) | st.integers(0, 999).map(str),
        "os_version": st.none() | st.text(CHARACTERS, max_size=8),
        "id": st.none() | st.text(CHARACTERS, max_size=8) | st.integers(),
    },
)
IDENTITIES = st.fixed_dictionaries(
    {"profile_id": st.text(CHARACTERS, min_size=1, max_size=8)}
) | st.fixed_dictionaries(
    {"appmetrica_device_id": st.integers(1, 2**64 - 1), "profile_id": st.sampled_from(["", None])}
)


@examples(200)
@given(VALID, IDENTITIES, st.sampled_from(["id", "os_version", "event_name"]))
def test_valid_events_give_the_same_row_by_either_pass(
    event: dict[str, object], identity: dict[str, object], key_field: str
) -> None:
    routes = {"key_fields": (key_field,), "unknown_fields": UnknownFields.IGNORE}
    value = json.dumps(event | identity).encode()
    assert isinstance(read(FakeRecord(0, value), **routes), Row)
    assert_passes_agree(event | identity, routes)


@pytest.mark.parametrize(
    "identity",
    [
        {"profile_id": 0},
        {"profile_id": 0, "appmetrica_device_id": ""},
        {"profile_id": 0, "appmetrica_device_id": 1},
    ],
    ids=str,
)
def test_a_profile_called_zero_is_an_identity_to_both_passes(identity: dict[str, object]) -> None:
    event = {name: value for name, value in make_event().items() if name != "profile_id"}
    assert_passes_agree(event | identity, {})

"""What a schema refuses the worker refuses; what it takes the worker takes, or a rule says why."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_value
from tests.searches import CHARACTERS, examples, share
from tests.unit.contract.judging import NotJsonError, parsed, schema_takes, worker_faults
from tests.unit.core.intake.reading import codes_of
from tests.unit.core.intake.rows_of_resources import events_of
from verification.fuzz.mutations import TOKENS, Mutator
from worker.contract.beyond import RULES
from worker.contract.json_schema import schema_of
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, RESOURCES, Resource

MUTATIONS = share(4_000)
SPACES = [character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace()]


def beyond(resource: str, fault: FieldFault) -> list[str]:
    """The rules that allow a schema to miss this fault.

    By its reason, and by its column's kind or for the whole record.
    """
    columns = {
        column.name: column.kind
        for column in (*IDENTITY_COLUMNS.values(), *RESOURCES[resource].columns)
    }
    kind = columns.get(fault.field)
    return [
        rule.name
        for rule in RULES
        if fault.reason in rule.reasons and (not rule.kinds or kind in rule.kinds)
    ]


def holds_half_a_character(value: object) -> bool:
    """True if a string anywhere in the value does."""
    match value:
        case str():
            return any("\ud800" <= character <= "\udfff" for character in value)
        case dict():
            return any(map(holds_half_a_character, (*value, *value.values())))
        case list():
            return any(map(holds_half_a_character, value))
        case _:
            return False


def is_beyond_it(resource: str, value: bytes, fault: FieldFault) -> bool:
    """True if a rule says that no schema could see this fault, and the value fits the rule."""
    whole = parsed(value)
    found = whole.get(fault.field) if isinstance(whole, dict) else None
    shapes = {
        "age": isinstance(found, int | float | str),
        "whole number": isinstance(found, float) and found.is_integer(),
        "float id": isinstance(found, float) and abs(found) >= 2**53,
        "long decimal": isinstance(found, int | float | str),
        "object in text": isinstance(found, str)
        and found.strip(" \t\r\n")[:1] == "{"
        and found.strip(" \t\r\n")[-1:] == "}",
        "half a character": holds_half_a_character(whole),
        "application": True,
        "depth": True,
        "size": False,
        "not JSON": False,
    }
    return any(shapes[rule] for rule in beyond(resource, fault))


def compare(resource: str, value: bytes) -> None:
    """Hold the law against one value."""
    faults = worker_faults(resource, value)
    try:
        is_taken = schema_takes(resource, value)
    except NotJsonError:
        # No value to look at. Of a repeated field the worker drops the first unseen, even
        # one that isn't UTF-8.
        return
    if not is_taken:
        assert faults, f"{resource}: the schema refuses what the worker takes: {value!r}"
    else:
        unseen = [fault for fault in faults if not is_beyond_it(resource, value, fault)]
        assert not unseen, (
            f"{resource}: no rule says that the schema can't see {unseen} of {value!r}"
        )


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda one: one.name)
@examples(60)
@given(data=st.data())
def test_both_take_whatever_is_in_order(resource: Resource, data: st.DataObject) -> None:
    sent = data.draw(events_of(resource))
    assert worker_faults(resource.name, sent.json_text) == ()
    assert schema_takes(resource.name, sent.json_text), sent.json_text


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda one: one.name)
@examples(60)
@given(data=st.data())
def test_both_agree_on_whatever_becomes_of_it(resource: Resource, data: st.DataObject) -> None:
    """Fields left out, given twice, given another value, and others beside them."""
    event = data.draw(events_of(resource))
    members = _members(event.json_text)
    names = [column.name for column in (*IDENTITY_COLUMNS.values(), *resource.columns)]
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from([*members, *members, *names, "colour", ""]))
        token = data.draw(st.none() | st.sampled_from(_TEXTS) | _VALUES)
        members.pop(name, None)
        if token is not None:
            members[name] = token
    compare(
        resource.name,
        (
            "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in members.items()) + "}"
        ).encode(),
    )


_TEXTS = [token.decode() for token in TOKENS if token.isascii()]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(CHARACTERS, max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
).map(json.dumps)


def _members(value: bytes) -> dict[str, str]:
    return {
        name: bytes(raw).decode()
        for name, raw in msgspec.json.decode(value, type=dict[str, msgspec.Raw]).items()
    }


def test_both_agree_on_what_the_fuzzer_makes_of_records() -> None:
    mutator = Mutator(6)
    compared = 0
    for _ in range(MUTATIONS):
        kind, value, _ = mutator.draw()
        for resource in [kind] if kind in RESOURCES else list(RESOURCES):
            compare(resource, value)
            compared += 1
    assert compared >= MUTATIONS


@pytest.mark.parametrize("kind", [Kind.INTEGER, Kind.DEVICE_ID, Kind.TIMESTAMP])
def test_integers_as_text_have_the_bounds_of_integers(kind: Kind) -> None:
    for resource in RESOURCES.values():
        for column in (*IDENTITY_COLUMNS.values(), *resource.columns):
            if column.kind is not kind:
                continue
            base = json.loads(json.dumps(schema_of(resource)["examples"][0]))
            if column.name == "appmetrica_device_id":
                del base["profile_id"]
            highest = 10**11 - 1 if kind is Kind.TIMESTAMP else column.maximum
            for number in {
                0,
                1,
                9,
                10,
                99,
                100,
                998,
                999,
                1000,
                highest - 1,
                highest,
                highest + 1,
                10**20 - 1,
                10**20,
                -1,
                column.minimum,
                column.minimum - 1,
            }:
                for spelled in (
                    number,
                    str(number),
                    f"0{number}",
                    str(number).zfill(20),
                    f"{number}\n",
                    f" {number}",
                ):
                    compare(resource.name, json.dumps(base | {column.name: spelled}).encode())


@pytest.mark.parametrize("mark", [*SPACES, "\ufeff", "\u200b", ",", "[", "]", '"', "x"], ids=ascii)
def test_both_agree_on_the_edges_of_an_element(mark: str) -> None:
    base = schema_of(RESOURCES["ecommerce"])["examples"][0]
    for element in (f"{mark}a", f"a{mark}", f"a{mark}b", mark):
        for codes in ([element], ["a", element], f"[{element}]", f"[a,{element}]"):
            compare("ecommerce", json.dumps(base | {"product_promo_codes": codes}).encode())


def test_a_row_that_no_request_could_hold_is_beyond_a_schema() -> None:
    value = make_value(event_json={"text": "x" * 200})
    assert schema_takes("events", value)
    assert codes_of(value, row_bytes_max=100)[0][0] is Reason.TOO_LARGE


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b'{"application_id": NaN}'])
def test_what_is_no_json_is_refused_before_any_schema(value: bytes) -> None:
    with pytest.raises(NotJsonError):
        parsed(value)
    assert {fault.reason for fault in worker_faults("events", value)} <= {
        Reason.NOT_JSON,
        Reason.EMPTY_VALUE,
    }
    assert worker_faults("events", value)


def test_half_a_character_is_beyond_a_schema() -> None:
    value = make_value(event_name="film @").replace(b"@", rb"\ud83d")
    assert schema_takes("events", value)
    (fault,) = worker_faults("events", value)
    assert "half a character" in beyond("events", fault)


def test_nesting_without_end_is_refused() -> None:
    value = make_value(event_json="@").replace(b'"@"', b'{"a":' * 2000 + b"1" + b"}" * 2000)
    assert [fault.reason for fault in worker_faults("events", value)] == [Reason.NOT_JSON]

"""The compiled pass and its twin: the same answers to any value, and memory that is kept apart."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_event,
    make_rules,
    make_value,
    now_at,
)
from tests.hostile_values import hostile_values, huge_values
from tests.pass_forms import NOT_BUILT, needs_compiled
from tests.searches import examples
from verification.fuzz.checking import APPLICATIONS, Variant, variants
from verification.fuzz.mutations import Headers, Mutator
from worker.core.counters.counters import ContractDrift
from worker.core.intake import fields
from worker.core.intake.decode import Unknown, value_decoder
from worker.core.intake.dedup_key import UnusableKey
from worker.core.intake.fast_pass import (
    ChunkReading,
    FastPass,
    InvalidEvent,
    RowEnds,
)
from worker.core.intake.forms import Unwrapped
from worker.core.intake.generated_pass import generate_fast_pass
from worker.core.intake.layout import Layout
from worker.core.intake.pass_choice import PassForm, best_fast_pass
from worker.core.intake.reader import Reader
from worker.core.intake.rules import Form, Framing, IntakeRules, TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import Row
from worker.core.post_api.column import Kind
from worker.core.post_api.resource import EVENTS, RESOURCES

# Each test here compares the two forms: once is enough.
pytestmark = [
    needs_compiled,
    pytest.mark.parametrize("pass_form", [PassForm.COMPILED], indirect=True),
]

WINDOW = TimeWindow(UNIX_SECONDS - 1000, UNIX_SECONDS + 1000, UNIX_SECONDS)
COLUMN = next(column for column in EVENTS.columns if column.kind is Kind.IPV6)


@dataclass(frozen=True, slots=True)
class Twins:
    """Both forms of one route's fast pass, and its lenient decoder."""

    compiled: FastPass
    generated: FastPass
    lenient: Callable[[Any], Any]

    @classmethod
    def of(cls, rules: IntakeRules, layout: Layout | None = None) -> Twins:
        """Twins whose unusual ends show their arguments."""
        layout = Layout.of(rules) if layout is None else layout
        indexes = [layout.paths.index(key) for key in layout.keys]

        def producer_key(values: Any) -> str | UnusableKey:
            found = [values[index] for index in indexes]
            return repr([bytes(one) if type(one) is msgspec.Raw else one for one in found])

        ends = RowEnds(producer_key if indexes else None, _shown, lambda *args: _shown(args[2:]))
        decoder = value_decoder(rules, layout, Unknown.FORBID)
        lenient, _ = value_decoder(rules, layout, Unknown.SKIP)
        return cls(
            best_fast_pass(rules, layout, decoder, ends),
            generate_fast_pass(rules, layout, decoder, ends),
            lenient,
        )

    def agree(self, value: bytes, **more: Any) -> object:
        """The answer of both, which must be the same, with the same counts."""
        record = FakeRecord(0, value, b"key", more.pop("headers", ()))
        compiled, generated = (
            _answer(one, record, value, more) for one in (self.compiled, self.generated)
        )
        assert compiled == generated
        return compiled[0]


def _shown(what: object) -> InvalidEvent:
    return InvalidEvent((FieldFault(Reason.TOO_LARGE, "", repr(what)),))


def _answer(
    one: FastPass, record: FakeRecord, value: bytes, more: dict[str, Any]
) -> tuple[object, ContractDrift]:
    drift = ContractDrift()
    return one(
        ChunkReading(make_assignment(), WINDOW, now_at(), drift), record, value, **more
    ), drift


def test_the_built_extension_is_of_this_source() -> None:
    from worker.core.intake import compiled_pass

    source = Path(fields.__file__).with_name("compiled_pass.pyx").read_bytes()
    assert compiled_pass.source_digest == sha256(source).hexdigest(), NOT_BUILT


def test_a_reader_of_plain_csv_has_the_compiled_pass() -> None:
    rules = make_rules()
    reader = Reader(rules, _shown, lambda *_: _shown(""))
    assert type(getattr(reader.fast, "__self__", None)).__name__ == "CompiledPass"


@pytest.fixture(scope="module")
def drawn() -> list[tuple[str, bytes, Headers]]:
    mutator = Mutator(11)
    return [mutator.draw() for _ in range(3000)]


@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.name)
def test_twins_agree_on_mutated_records(
    variant: Variant, drawn: list[tuple[str, bytes, Headers]]
) -> None:
    twins, chance = Twins.of(variant.rules), random.Random(11)
    wrapped = (None, Unwrapped(b""), Unwrapped(b"", timestamp=UNIX_SECONDS))
    accepted = 0
    # Few of other kinds: a decoder refuses nearly all of them.
    fitting = [one for one in drawn if one[0] in variant.name][:150] + drawn[:50]
    for _, value, headers in fitting:
        more = {"decode": twins.lenient} if chance.random() < 0.5 else {}
        answer = twins.agree(value, unwrapped=chance.choice(wrapped), headers=headers, **more)
        accepted += answer is not None
    is_bare = variant.rules.form is Form.JSON and variant.rules.framing is Framing.NONE
    assert accepted > 0 or not is_bare


@pytest.mark.parametrize("name", RESOURCES)
def test_twins_agree_on_hostile_values(name: str) -> None:
    twins = Twins.of(make_rules(resource=RESOURCES[name], applications=APPLICATIONS))
    # All decoders refuse the huge values alike: one resource is enough.
    huge = huge_values(3, UNIX_SECONDS) if name == "events" else ()
    for hostile in (*hostile_values(200, 3, UNIX_SECONDS), *huge):
        if hostile.value:
            twins.agree(hostile.value)


HOSTILE_CELLS: list[Any] = [
    "",
    None,
    0,
    -1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    -(2**63),
    -(2**63) - 1,
    10**400,
    "0",
    "00042",
    "9" * 18,
    "9" * 19,
    "1" * 5000,
    "٣",
    "-5",
    True,
    1.5,
    float("nan"),
    float("inf"),
    '"',
    '"' * 20_000,
    ",",
    "\r",
    "\n",
    "\0",
    "Ирония\U0001f642\u2028",
    "a" * 16_383,
    "é" * 100_000,
    "\ud800",
    {},
    {"a": '"\n,'},
    {"é": "\U0001f642"},
    {"a": "x" * 40_000},
    {"a": '"' * 20_000},
    [],
    [[]],
    "{}",
    '{"a":1}',
    ' {"a":1}',
    '{"\\ud800":1}',
    '{"a":"\\ud800"}',
    '{"a":}',
    "[]",
    '{"a":"' + "x" * 40_000 + '"}',
]


@pytest.mark.parametrize("column", EVENTS.columns, ids=lambda column: column.name)
@pytest.mark.parametrize("limit", [1_000_000, 300])
def test_twins_agree_on_each_hostile_cell_of_each_column(column: Any, limit: int) -> None:
    twins = Twins.of(make_rules(row_bytes_max=limit))
    for cell in HOSTILE_CELLS:
        twins.agree(make_value(**{column.name: cell}))


@pytest.mark.parametrize("name", ["profile_id", "appmetrica_device_id"])
def test_twins_agree_on_each_identity(name: str) -> None:
    twins = Twins.of(make_rules())
    event = make_event()
    event.pop("profile_id")
    for cell in HOSTILE_CELLS:
        for other in ({}, {"profile_id": 0}, {"appmetrica_device_id": ""}, {"profile_id": "p"}):
            twins.agree(json.dumps(event | other | {name: cell}).encode())


@pytest.mark.parametrize("resource", ["revenue", "ecommerce"])
def test_twins_count_payloads_that_the_api_cuts(resource: str) -> None:
    twins = Twins.of(make_rules(resource=RESOURCES[resource], row_bytes_max=10**6))
    event = {"application_id": 1111, "profile_id": "p"} | {
        column.name: UNIX_SECONDS if column.kind is Kind.TIMESTAMP else json.loads(column.example)
        for column in RESOURCES[resource].columns
        if column.required
    }
    event["application_id"] = 1111
    name = "payload" if resource == "revenue" else "product_payload"
    for size in (10_000, 15_300, 15_400, 30_000, 30_711, 30_712, 30_713, 40_000):
        for filler in ("x", '"', "é"):
            payload: Any = {"a": filler * size}
            for one in (payload, json.dumps(payload), json.dumps(payload, ensure_ascii=False)):
                text = json.dumps(event | {name: one}, ensure_ascii=False).encode()
                assert isinstance(twins.agree(text), Row)


def test_twins_agree_on_values_that_are_not_utf_8() -> None:
    twins = Twins.of(make_rules())
    value = make_value(event_json={"a": "X"}, os_name="Y")
    hostile = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2\x82")
    for bad in hostile:
        assert twins.agree(value.replace(b"X", bad)) is None
        assert twins.agree(value.replace(b"Y", bad)) is None
        assert twins.agree(make_value(event_json='{"a":"X"}').replace(b"X", bad)) is None


ADDRESSES = st.lists(
    st.sampled_from(["1", "255", "256", "01", "0", "abcd", "12345", ".", ":", "::", "%", "g", " "]),
    max_size=17,
).map("".join)


@examples(400)
@given(
    ADDRESSES
    | st.ip_addresses().map(str)
    | st.lists(st.sampled_from(["a", "0", "ffff", ""]), max_size=9).map(":".join)
)
@example("::")
@example(":::")
@example("1:2:3:4:5:6:7:8")
@example("1:2:3:4:5:6:7::")
@example("::1:2:3:4:5:6:7")
@example("1::2:3:4:5:6:7:8")
@example("1:2:3:4:5:6:7:8:")
@example("1.2.3.4.")
@example("1.2.3.256")
@example("1.2.3.04")
def test_twins_agree_on_addresses(text: str) -> None:
    answer = ADDRESS_TWINS.agree(make_value(device_ipv6=text))
    assert isinstance(answer, Row) == (type(fields.check(COLUMN, text, WINDOW)) is str or not text)


ADDRESS_TWINS = Twins.of(make_rules())


def test_a_long_line_does_not_change_the_next() -> None:
    twins = Twins.of(make_rules(row_bytes_max=10**7))
    short = twins.agree(make_value())
    for size in (10, 16_000, 16_384, 100_000, 3_000_000, 20_000):
        assert isinstance(twins.agree(make_value(os_version='"' * size)), Row)
        assert twins.agree(make_value()) == short


def test_an_event_that_is_read_during_a_check_has_a_line_of_its_own() -> None:
    """A check that reads another event, whose line must not end in this line."""
    rules, layout, inner = make_rules(), Layout.of(make_rules()), []

    def check(column: Any, value: object, window: TimeWindow) -> str:
        if value == "999999999999999999999":
            inner.append(twins.compiled(reading, FakeRecord(0), make_value(mcc=1)))
        return "7"

    places = tuple(
        replace(place, check=check) if place.column.name == "mcc" else place
        for place in layout.places
    )
    twins = Twins.of(rules, replace(layout, places=places))
    reading = ChunkReading(make_assignment(), WINDOW, now_at(), ContractDrift())
    # The pass has a buffer from here on.
    plain = twins.compiled(reading, FakeRecord(0), make_value(mcc=7))
    outer = twins.compiled(reading, FakeRecord(0), make_value(mcc="9" * 21))
    assert isinstance(outer, Row)
    assert isinstance(plain, Row)
    assert (outer.line, len(inner)) == (plain.line, 1)
    assert isinstance(inner[0], Row)


def test_an_error_of_a_check_is_raised_and_leaves_the_pass_usable() -> None:
    rules, layout = make_rules(), Layout.of(make_rules())

    def check(*_: object) -> str:
        raise ZeroDivisionError

    places = tuple(replace(place, check=check) for place in layout.places)
    twins = Twins.of(rules, replace(layout, places=places))
    reading = ChunkReading(make_assignment(), WINDOW, now_at(), ContractDrift())
    with pytest.raises(ZeroDivisionError):
        twins.compiled(reading, FakeRecord(0), make_value(mcc="x"))
    assert isinstance(twins.agree(make_value()), Row)


def test_more_columns_than_there_is_room_for_are_refused() -> None:
    layout = Layout.of(make_rules())
    with pytest.raises(ValueError, match="too many"):
        Twins.of(make_rules(), replace(layout, places=layout.places * 11))


def test_a_decoder_of_another_table_is_an_error() -> None:
    rules = make_rules()
    layout = Layout.of(rules)
    decoder = (lambda _: None, lambda _: ("", "p", 1111))
    ends = RowEnds(None, _shown, lambda *_: _shown(""))
    reading = ChunkReading(make_assignment(), WINDOW, now_at(), ContractDrift())
    with pytest.raises(ValueError, match="too few"):
        best_fast_pass(rules, layout, decoder, ends)(reading, FakeRecord(0), b"{}")


def test_a_decoder_that_gives_something_else_is_an_error() -> None:
    twins = Twins.of(make_rules())
    reading = ChunkReading(make_assignment(), WINDOW, now_at(), ContractDrift())
    with pytest.raises(TypeError, match=r"must be a `msgspec.Struct`"):
        twins.compiled(reading, FakeRecord(0), b"{}", None, lambda _: msgspec.Raw(b"{}"))

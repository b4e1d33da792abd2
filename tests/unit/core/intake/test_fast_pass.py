"""The fast pass: its rows, and the text and the tracebacks of the generated function."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import FakeRecord, make_assignment, make_rules, make_value, now_at
from tests.searches import examples
from worker.core.counters.counters import ContractDrift
from worker.core.intake import dedup_key
from worker.core.intake.decode import Unknown, value_decoder
from worker.core.intake.fast_pass import (
    ChunkReading,
    FastPass,
    InvalidEvent,
    RowEnds,
)
from worker.core.intake.layout import Layout
from worker.core.intake.line import comma_quoted, special_quoted
from worker.core.intake.pass_choice import PassForm
from worker.core.intake.reader import Reader
from worker.core.intake.rules import IntakeRules
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import KeySource, Row

TOO_LARGE = InvalidEvent((FieldFault(Reason.TOO_LARGE, "", "too large"),))
FINISHED = InvalidEvent((FieldFault(Reason.MISSING, "", "finished"),))

only_generated = pytest.mark.parametrize("pass_form", [PassForm.PYTHON], indirect=True)


def made(rules: IntakeRules) -> FastPass:
    layout = Layout.of(rules)
    decoder = value_decoder(rules, layout, Unknown.FORBID)
    ends = RowEnds(None, lambda _: TOO_LARGE, lambda *_: FINISHED)
    return Reader.make_fast_pass(rules, layout, decoder, ends)


def read(rules: IntakeRules, value: bytes, headers: Any = ()) -> Row | InvalidEvent | None:
    now = now_at()
    reading = ChunkReading(make_assignment(), rules.window(now.unix_seconds), now, ContractDrift())
    return made(rules)(reading, FakeRecord(0, value, b"key", headers), value)


def test_a_row_has_the_key_of_its_content_and_the_size_of_its_record() -> None:
    row = read(make_rules(), make_value())
    assert isinstance(row, Row)
    assert row.key == dedup_key.of_line(row.destination, row.line)
    assert (row.key_source, row.is_replay) == (KeySource.CONTENT, False)
    assert row.size_bytes == 800 + len(make_value()) + len(b"key") + len(row.line)


def test_headers_and_large_lines_are_left_to_others() -> None:
    assert read(make_rules(), make_value(), [("event-id", b"1")]) is FINISHED
    assert read(make_rules(row_bytes_max=10), make_value()) is TOO_LARGE


@only_generated
def test_a_traceback_shows_the_line_of_the_generated_text() -> None:
    rules = make_rules()
    row = made(rules)
    with pytest.raises(AttributeError) as caught:
        row(None, FakeRecord(0), make_value())  # type: ignore[arg-type]
    (last,) = traceback.extract_tb(caught.value.__traceback__)[-1:]
    assert last.filename.startswith("<fast pass of events, ")
    assert last.line == "window, drift = reading.window, reading.drift"


@only_generated
def test_routes_of_one_resource_have_names_of_their_own() -> None:
    names = {
        made(rules).__code__.co_filename  # type: ignore[attr-defined]
        for rules in (make_rules(), make_rules(constants={"mcc": "250"}))
    }
    assert len(names) == 2


@examples(300)
@given(st.lists(st.text(st.sampled_from("ab,é "), max_size=5), min_size=1, max_size=8))
def test_cells_with_commas_are_quoted_as_all_others_are(cells: list[str]) -> None:
    assert comma_quoted(cells) == special_quoted(cells)


def test_a_name_with_a_comma_is_quoted_in_its_row() -> None:
    row = read(make_rules(), make_value(device_model="iPhone14,5", os_name="a,b"))
    assert isinstance(row, Row)
    assert b',"a,b",' in row.line
    assert b',"iPhone14,5",' in row.line

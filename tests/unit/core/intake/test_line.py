"""CSV lines: quoted only where they must be, read back exactly by a strict reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_value, parse_csv
from tests.searches import CHARACTERS, examples
from tests.unit.core.intake.reading import cells_of, row_of
from worker.core.intake.line import csv_line, is_plain, quoted

# NUL, line ends of every script and the characters that CSV is made of, more often than chance
# would bring them.
TEXTS = st.text(
    st.one_of(CHARACTERS, st.sampled_from("\",\n\r;\t\0 '=\u2028\x85🙂")),
    max_size=20,
)


@pytest.mark.parametrize(
    "text",
    ["a,b", 'say "hi"', '"', '""', "two\nlines", "carriage\rreturn", "both\r\n", "\n", ","],
    ids=repr,
)
def test_a_cell_with_a_special_character_is_quoted_and_read_back(text: str) -> None:
    assert not is_plain(text)
    line = csv_line(["a", text, "b"], ())
    assert line == f"a,{quoted(text)},b\n".encode()
    assert parse_csv(line) == [["a", text, "b"]]


@pytest.mark.parametrize(
    "text",
    ["a;b", "=SUM(A1)", "🙂", "a\0b", " spaced ", "\t", "'", "\u2028", "\x85", "-1+2", "@x"],
    ids=ascii,
)
def test_every_other_cell_is_written_as_it_is(text: str) -> None:
    assert is_plain(text)
    assert csv_line(["a", text], ()) == f"a,{text}\n".encode()
    assert parse_csv(csv_line(["a", text], ())) == [["a", text]]


def test_a_json_cell_is_always_quoted_and_an_empty_one_never() -> None:
    assert csv_line(["a", "{}", ""], (1, 2)) == b'a,"{}",\n'
    assert csv_line(["a,b", '{"x":1}'], (1,)) == b'"a,b","{""x"":1}"\n'


def test_one_special_cell_leaves_the_others_unquoted() -> None:
    assert csv_line(["a", "b,c", "d"], ()) == b'a,"b,c",d\n'


@examples(150)
@given(st.lists(TEXTS, min_size=2, max_size=8), st.data())
def test_any_text_comes_back_from_the_line(cells: list[str], data: st.DataObject) -> None:
    json_cells = tuple(sorted(data.draw(st.sets(st.integers(0, len(cells) - 1)))))
    line = csv_line(list(cells), json_cells)
    assert line.endswith(b"\n")
    assert parse_csv(line) == [cells]


@examples(100)
@given(profile_id=TEXTS.filter(bool), event_name=TEXTS.filter(bool), device_model=TEXTS)
def test_any_text_of_an_event_comes_back_from_its_row(
    profile_id: str, event_name: str, device_model: str
) -> None:
    cells = cells_of(
        row_of(make_value(profile_id=profile_id, event_name=event_name, device_model=device_model))
    )
    assert (cells["profile_id"], cells["event_name"], cells["device_model"]) == (
        profile_id,
        event_name,
        device_model,
    )


@examples(100)
@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_lines_put_together_stay_apart(table: list[list[str]]) -> None:
    assert parse_csv(b"".join(csv_line(list(cells), ()) for cells in table)) == table

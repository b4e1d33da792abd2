"""What reaches a terminal: foreign bytes, times, bars."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.table import Table

import worker
from worker.cli.output import SHOWN_CHARACTERS_MAX, console, readable, shown_time
from worker.cli.stored_records import BAR_CELLS, bar


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (b"", ""),
        ("Солярис [bold]".encode(), "Солярис [bold]"),
        (b"\x1b[2J\x07\n\t", "\\x1b[2J\\x07\\n\\t"),
        (b"\xff\x00", "\\xff\\x00"),
        ("\u202e".encode(), "\\u202e"),
    ],
    ids=["null", "empty", "text", "control characters", "not UTF-8", "text that turns round"],
)
def test_bytes_are_shown_without_doing_anything(value: bytes | None, shown: str) -> None:
    assert readable(value) == shown


def test_long_values_are_cut_and_say_so() -> None:
    shown = readable(b"x" * (SHOWN_CHARACTERS_MAX + 1))
    assert shown == "x" * SHOWN_CHARACTERS_MAX + f"… ({SHOWN_CHARACTERS_MAX + 1:,} bytes)"


# To rich a closing tag that nothing has opened is an error, an opening one vanishes, and a name in
# colons becomes a picture.
@pytest.mark.parametrize("text", ["[fd00::10]:9092", "a[/b]", "[red]", ":warning:"])
def test_the_console_prints_text_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    out.print(text)
    table = Table(text, title=text)
    table.add_row(text)
    out.print(table)
    out.rule(text)
    assert capsys.readouterr().out.count(text) == 5


def test_no_command_makes_another_console() -> None:
    package = Path(worker.__file__).parent
    makers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "Console(" in path.read_text()
    }
    assert makers == {"cli/output.py"}


@pytest.mark.parametrize(
    ("unix_seconds", "shown"),
    [
        (1_700_000_000.9, "2023-11-14 22:13:20 UTC"),
        (-0.001, "undated"),
        (0.0, "undated"),
        (2**63 / 1000, "undated"),
        (-(2**63) / 1000, "undated"),
    ],
    ids=["a time", "none", "a zero", "beyond the calendar", "before it"],
)
def test_whatever_a_record_s_time_is_it_is_shown(unix_seconds: float, shown: str) -> None:
    assert shown_time(unix_seconds) == shown


@pytest.mark.parametrize(
    ("count", "largest", "cells"),
    [(10, 10, BAR_CELLS), (5, 10, BAR_CELLS // 2), (1, 10**9, 1), (0, 10, 0), (0, 0, 0)],
)
def test_a_bar_is_proportional_and_never_empty_for_a_count(
    count: int, largest: int, cells: int
) -> None:
    assert len(bar(count, largest)) == cells

"""What of somebody else's bytes reaches a terminal."""

from __future__ import annotations

import pytest

from worker.cli.output import SHOWN_CHARACTERS_MAX, readable


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

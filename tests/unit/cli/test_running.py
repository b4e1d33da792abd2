"""Times on the command line."""

from __future__ import annotations

import time

import click
import pytest
from click.testing import CliRunner

from worker.cli.main import cli
from worker.cli.running import unix_milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2023-11-14", 1_699_920_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
        ("1700000000", 1_700_000_000_000),
    ],
)
def test_a_time_is_parsed(text: str, milliseconds: int) -> None:
    assert unix_milliseconds(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)]
)
def test_a_time_may_be_an_age(text: str, seconds: int) -> None:
    assert abs(time.time() * 1000 - unix_milliseconds(text) - seconds * 1000) < 5000


@pytest.mark.parametrize("text", ["", "yesterday", "5", "-1h", "1w", "1700000000000"])
def test_what_is_no_moment_is_a_fault(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        unix_milliseconds(text)


@pytest.mark.parametrize(
    "command",
    [
        ("top", "--once", "--interval"),
        ("lag", "--interval"),
        ("rehearse", "--seconds"),
        ("dlq", "replay", "--rate"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "x"])
def test_what_is_no_number_of_seconds_or_records_is_wrong_usage(
    command: tuple[str, ...], text: str
) -> None:
    result = CliRunner().invoke(cli, [*command, text])
    assert result.exit_code == 2
    assert f"Invalid value for '{command[-1]}'" in result.output

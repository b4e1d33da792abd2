"""The options of `sandbox`, as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from worker.cli.main import cli


def output_of(*arguments: str) -> str:
    """The output of wrong usage."""
    result = CliRunner().invoke(cli, ["sandbox", *arguments])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("text", ["1111", "=key", "1111=", "x=key", "²=key", "0=key", "9" * 5000])
def test_an_application_without_an_id_or_a_key_is_wrong_usage(text: str) -> None:
    assert "is not ID=KEY" in output_of("--application", text)


def test_an_application_with_two_keys_is_wrong_usage() -> None:
    twice = ("--application", "1111=a", "--application", "1111=b")
    assert "application 1111 is given twice" in output_of(*twice)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe[\x00]\x00", "is not UTF-8 at byte 0"),
        (b"[1", "the plan is not JSON"),
        (b"[" * 100_000, "the plan is not JSON"),
        (b"[" + b"9" * 5000 + b"]", "the plan is not JSON"),
        (b"{}", "a plan is a list of faults"),
    ],
    ids=["UTF-16", "cut off", "nested too deeply", "a long number", "no list"],
)
def test_a_plan_that_cannot_be_used_is_wrong_usage(
    content: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "faults.json"
    file.write_bytes(content)
    found = output_of("--faults", str(file), "--port", "0")
    assert "Invalid value for --faults" in found and message in found

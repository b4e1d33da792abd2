"""Lines that are written while nobody reads, or can't be: over real pipes and files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.edges.telemetry.log_writer import WAITING_BYTES_MAX, LineWriter

# No test waits so long as long as the code is right.
HANGING_SECONDS = 60.0
LINE = "x" * 1023


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full: reader, writer."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"-" * 4095 + b"\n")
    yield reader, writer
    os.close(reader)


def notice(count: int) -> str:
    return f"{count} lines dropped"


def read_until(reader: int, line: str, text: str = "") -> str:
    """All that comes, until this line was there."""
    while f"\n{line}\n" not in text:
        text += os.read(reader, 65536).decode()
    return text


def lines_of(text: str) -> list[str]:
    """Without what filled the pipe."""
    return text.splitlines()[1:]


def test_lines_are_written_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        writer = LineWriter(file.fileno(), notice)
        for number in range(1000):
            writer.write(f"line {number}")
        assert writer.flush(HANGING_SECONDS)
    assert (tmp_path / "log").read_text().splitlines() == [
        f"line {number}" for number in range(1000)
    ]
    assert writer.dropped == 0


def test_lines_that_nobody_reads_are_bounded_counted_and_reported_when_somebody_does(
    pipe: tuple[int, int],
) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor, notice)
    offered = 5000
    for _ in range(offered):
        writer.write(LINE)
    assert writer.dropped == offered - WAITING_BYTES_MAX // 1024
    assert not writer.flush(0)
    note = f"{writer.dropped} lines dropped"
    text = read_until(reader, note)
    writer.write("afterwards")
    lines = lines_of(read_until(reader, "afterwards", text))
    assert (lines.count(LINE), lines.count(note), lines[-1]) == (
        offered - writer.dropped,
        1,
        "afterwards",
    )


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    os.set_blocking(descriptor, False)
    writer = LineWriter(descriptor, notice)
    for _ in range(100):
        writer.write(LINE)
    writer.write("end")
    assert lines_of(read_until(reader, "end")) == [LINE] * 100 + ["end"]
    assert writer.dropped == 0


def test_what_a_full_device_refuses_is_counted() -> None:
    with Path("/dev/full").open("w") as full:
        writer = LineWriter(full.fileno(), notice)
        writer.write("lost")
        assert writer.flush(HANGING_SECONDS)
        writer.write("lost as well")
        assert writer.flush(HANGING_SECONDS)
    assert writer.dropped == 2


def test_writing_goes_on_after_a_failure_and_says_what_is_missing(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    closed = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(closed, notice)
    writer.write("lost")
    assert writer.flush(HANGING_SECONDS)
    os.dup2(descriptor, closed)
    writer.write("here")
    assert lines_of(read_until(reader, "1 lines dropped")) == ["here", "1 lines dropped"]
    os.close(closed)


def test_half_a_character_is_no_reason_to_fail(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        writer = LineWriter(file.fileno(), notice)
        writer.write("a lone \ud800")
        assert writer.flush(HANGING_SECONDS)
    assert (tmp_path / "log").read_text() == "a lone \\ud800\n"

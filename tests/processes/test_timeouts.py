"""A test that hangs: it fails at its bound, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
HANGING_SECONDS = 60
SUITE = """
import asyncio, os, pathlib, subprocess
import pytest

HERE = pathlib.Path(__file__).parent

@pytest.fixture(scope="session", autouse=True)
def broker():
    with subprocess.Popen(["sleep", "600"]) as process:
        (HERE / "pid").write_text(str(process.pid))
        yield
        process.kill()

{wait}

def test_of_something_else():
    pass
"""
WAITS = {
    "in a coroutine": "async def test_that_hangs():\n    await asyncio.Event().wait()",
    "in a system call": "def test_that_hangs():\n    os.read(os.pipe()[0], 1)",
    "in the interpreter": "def test_that_hangs():\n    while True: pass",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_test_that_hangs_fails_alone_and_its_fixtures_end_their_processes(
    tmp_path: Path, wait: str
) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE.format(wait=wait))
    configuration = ["-c", str(REPOSITORY / "pyproject.toml"), "-o", "timeout=0.5"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *configuration, "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=HANGING_SECONDS,
        check=False,
        cwd=tmp_path,
    )
    assert "1 failed, 1 passed" in run.stdout, run.stdout
    assert "Timeout" in run.stdout
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)

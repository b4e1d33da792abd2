"""Random histories of the whole worker hold, and with any safeguard off they don't.

In processes of their own: the order of a set is part of a history, so the hash seed must be fixed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from verification.simulation.__main__ import is_noticed
from verification.simulation.history import TASK_DIED, Outcome
from verification.simulation.mutants import MUTANTS, NOTICED_AT, mutated
from worker.core.progress.tracker import Tracker
from worker.sandbox.processes import end_with

SEEDS = 300
# A bound for a run that hangs. At a quarter of the usual speed the mutants take twenty minutes.
SECONDS_MAX = 1800
pytestmark = pytest.mark.timeout(SECONDS_MAX + 60)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "verification.simulation", *arguments],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        preexec_fn=end_with(os.getpid()),
    )


def test_no_history_violates_an_invariant() -> None:
    result = simulate("--seeds", str(SEEDS))
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(rf"{SEEDS} histories in .*: 0 violations", result.stdout)


def test_every_safeguard_that_is_switched_off_is_noticed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = simulate("--mutants")
    with capsys.disabled():
        sys.stdout.write(f"\n{result.stdout}")
    caught = dict(re.findall(r"^(\w+) +seed \d+: (.+)$", result.stdout, re.MULTILINE))
    assert result.returncode == 0, result.stdout + result.stderr
    assert caught.keys() == MUTANTS.keys() >= NOTICED_AT.keys()
    assert len(MUTANTS) >= 20


def test_a_mutant_that_makes_the_worker_crash_is_not_noticed() -> None:
    noticed = Outcome(1, "1 commit", "", (), 0, 0)
    assert is_noticed(noticed)
    assert not is_noticed(replace(noticed, violation=TASK_DIED))
    assert not is_noticed(replace(noticed, violation=""))


def test_a_run_that_is_killed_leaves_no_process_behind() -> None:
    command = [sys.executable, "-m", "verification.simulation", "--mutants", "--jobs", "2"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], preexec_fn=end_with(os.getpid())
    ) as run:
        try:
            jobs = await_some(lambda: children(run.pid), count=2)
        finally:
            run.kill()
    assert await_some(lambda: [pid for pid in jobs if not is_alive(pid)], count=2)


def await_some(look: Callable[[], list[int]], count: int) -> list[int]:
    """Wait until `look` finds this many; returns them."""
    for _ in range(600):
        if len(found := look()) >= count:
            return found
        Event().wait(0.1)
    raise TimeoutError("not in a minute")


def children(pid: int) -> list[int]:
    """The processes that this process has started."""
    return [
        int(child)
        for tasks in Path(f"/proc/{pid}/task").glob("*/children")
        for child in tasks.read_text().split()
    ]


def is_alive(pid: int) -> bool:
    """True for a process that runs; a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_history_that_is_played_again_is_the_same() -> None:
    first, again = simulate("--seed", "3"), simulate("--seed", "3")
    assert re.match(r"seed 3 holds: \d+ events", first.stdout)
    assert first.stdout == again.stdout


def test_a_violation_names_the_seed_the_invariant_and_what_happened_and_can_be_played_again() -> (
    None
):
    result = simulate("--seed", "1", "--mutant", "commit_the_highest_offset_seen")
    assert result.returncode == 1
    assert re.match(r"seed 1 violates 1 commit\n  1 commit: .* is unsettled\n", result.stdout)
    assert "life 1 starts" in result.stdout
    assert "make simulate SEED=1" in result.stdout


def test_a_mutant_is_undone_after_its_history() -> None:
    before = Tracker.safe_position
    with mutated("commit_the_highest_offset_seen"):
        assert Tracker.safe_position is not before
    assert Tracker.safe_position is before

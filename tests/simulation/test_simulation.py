"""Random histories of the whole worker hold, and with any safeguard off they don't.

In processes of their own: the order of a set is part of a history, so the hash seed must be fixed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, mutated
from worker.progress.tracker import Tracker

SEEDS = 300
SECONDS_MAX = 600


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def test_no_history_violates_an_invariant() -> None:
    result = simulate("--seeds", str(SEEDS))
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(rf"{SEEDS} histories in .*: 0 violations", result.stdout)


def test_every_safeguard_that_is_switched_off_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    result = simulate("--mutants")
    with capsys.disabled():
        sys.stdout.write(f"\n{result.stdout}")
    caught = dict(re.findall(r"^(\w+) +seed \d+: (.+)$", result.stdout, re.MULTILINE))
    assert result.returncode == 0, result.stdout + result.stderr
    assert caught.keys() == MUTANTS.keys()
    assert len(MUTANTS) >= 20


def test_a_history_that_is_played_again_is_the_same() -> None:
    first, again = simulate("--seed", "3"), simulate("--seed", "3")
    assert re.match(r"seed 3 holds: \d+ events", first.stdout)
    assert first.stdout == again.stdout


def test_a_violation_tells_the_seed_the_invariant_and_what_happened_and_can_be_played_again() -> None:
    result = simulate("--seed", "1", "--mutant", "mark_as_delivered_before_the_answer")
    assert result.returncode == 1
    assert re.match(r"seed 1 violates 1 commit\n  1 commit: .* is unsettled\n", result.stdout)
    assert "life 1 starts" in result.stdout
    assert "make simulate SEED=1" in result.stdout


def test_a_mutant_is_undone_after_its_history() -> None:
    before = Tracker.safe_position
    with mutated("commit_the_highest_offset_seen"):
        assert Tracker.safe_position is not before
    assert Tracker.safe_position is before

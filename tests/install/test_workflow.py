"""The workflow runs what `.ci/run` says, with no more rights than it needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[2]
WORKFLOWS = PROJECT / ".github" / "workflows"


def test_zizmor_has_no_complaint() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    command = [str(zizmor), "--offline", "--quiet", "--persona=pedantic", "--no-progress"]
    done = subprocess.run([*command, str(WORKFLOWS)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_pinned_by_commit_and_read_only() -> None:
    workflows = [yaml.safe_load(file.read_text()) for file in WORKFLOWS.glob("*.yml")]
    used: list[str] = []
    for workflow in workflows:
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            assert job["permissions"] == {"contents": "read"}
            used += [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []


def test_workflow_runs_what_people_run() -> None:
    workflow = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())
    steps = workflow["jobs"]["check"]["steps"]
    assert [step["run"].split()[-1] for step in steps if "run" in step] == [".ci/run"]
    assert (PROJECT / ".ci" / "run").exists()

"""The bench runs and writes its tables. The figures of such tiny counts mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from bench.goals import GOALS
from bench.report import SHAPES_SHOWN
from bench.results import ROOT

# One scenario of each kind: contenders in turns, a receiver with delays, a paced producer, stages.
SCENARIOS = ("side_by_side_rich", "receiver_delay", "latency", "stages")
MEASURED = ("to_floor_rich", "to_plain_rich", "p99_ms_1000", "p99_ms_50")


def test_the_bench_measures_and_writes_its_tables(bootstrap_servers: str, tmp_path: Path) -> None:
    missing = "the packages of the bench are missing: make .venv/.bench-installed"
    assert find_spec("confluent_kafka") is not None, missing
    command = [sys.executable, "-m", "bench", "--smoke", "--bootstrap-servers", bootstrap_servers]
    command += ["--output", str(tmp_path), "--only", *SCENARIOS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert kept["figures"].keys() >= {*MEASURED, "floor_us_rich", "plain_us_rich", "worker_us_rich"}
    assert all(kept["figures"][name]["value"] > 0 for name in MEASURED)
    assert len(kept["series"]["delay"]) == 2
    assert kept["stages"].keys() == set(SHAPES_SHOWN)
    table = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert all(f"| {goal.text} |" in table for goal in GOALS)
    for name in ("delay.svg", "outage.svg"):
        ElementTree.parse(tmp_path / name)

"""The results: figures, series and costs, kept in results.json with the date of each figure.

A short run replaces the figures that it has measured and keeps the others.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench.broker_stage import Samples
from bench.goals import number
from bench.stages import Cost
from worker.core.intake.pass_choice import PASS_FORM, PassForm

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "bench"
LIBRARIES = ("aiokafka", "aiohttp", "msgspec", "orjson")
PEERS = ("confluent-kafka", "requests")


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of the samples, their least and their largest, and when they were taken."""

    value: float
    low: float
    high: float
    samples: int
    date: str

    def __str__(self) -> str:
        if self.samples == 1:
            return number(self.value)
        return f"{number(self.value)} ({number(self.low)}–{number(self.high)})"


@dataclass
class Results:
    """All that is known."""

    about: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    stages: dict[str, dict[str, Cost]] = field(default_factory=dict)

    @property
    def is_compiled(self) -> bool:
        """Whether the worker ran with its compiled writer."""
        return self.about.get("build") == "compiled"

    @property
    def values(self) -> dict[str, float]:
        """The figures' medians."""
        return {name: figure.value for name, figure in self.figures.items()}

    def take(self, samples: Samples) -> None:
        """Take figures over from what was measured just now."""
        date = time.strftime("%Y-%m-%d")
        for name, values in samples.items():
            middle = statistics.median(values)
            self.figures[name] = Figure(middle, min(values), max(values), len(values), date)

    def take_stages(self, shape: str, costs: dict[str, Cost]) -> None:
        """Take the costs of the stages over."""
        self.stages[shape] = costs
        executed = costs["intake"].instructions
        if executed is not None:
            self.take({f"instructions_{shape}": [executed]})


def load(directory: Path) -> Results:
    """The results so far; empty where there are none."""
    file = directory / "results.json"
    if not file.exists():
        return Results()
    kept = json.loads(file.read_text(encoding="utf-8"))
    return Results(
        kept["about"],
        {name: Figure(**figure) for name, figure in kept["figures"].items()},
        kept["series"],
        {
            shape: {name: Cost(**cost) for name, cost in costs.items()}
            for shape, costs in kept["stages"].items()
        },
    )


def save(results: Results, directory: Path) -> None:
    """Write results.json."""
    text = json.dumps(asdict(results), indent=1, sort_keys=True, ensure_ascii=False)
    (directory / "results.json").write_text(text + "\n", encoding="utf-8")


def machine(command: str) -> dict[str, str]:
    """Where and with what is measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, check=False
    )
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.decode().strip(),
        "build": "compiled" if PASS_FORM is PassForm.COMPILED else "pure Python",
        "cores": str(os.cpu_count()),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "peers": ", ".join(f"{name} {version(name)}" for name in PEERS),
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")

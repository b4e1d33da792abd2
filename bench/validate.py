"""Measures `appmetrica-worker validate`, and writes VALIDATE.md.

    python -m bench.validate [--events 500000] [--rounds 3] [--output bench/VALIDATE.md]

Each round is the installed command from its start to its end, on a file of each form.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.events import SMALL, events

GOAL_PER_SECOND = 50_000
COMMAND = str(Path(sys.executable).with_name("appmetrica-worker"))
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY": "bench"}


@dataclass(frozen=True, slots=True)
class Figures:
    """One run, in seconds of wall and of CPU."""

    wall_seconds: float
    cpu_seconds: float


def run(*arguments: str) -> Figures:
    """Run the command once."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [COMMAND, "validate", *arguments], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(time.perf_counter() - wall, cpu)


def measure(directory: Path, count: int, rounds: int) -> dict[str, list[Figures]]:
    """Make the files, then run everything in turns."""
    made = list(events(SMALL, count, now=int(time.time())))
    jsonl, kcat, bodies = (
        directory / "events.jsonl",
        directory / "events.kcat",
        directory / "bodies",
    )
    jsonl.write_bytes(b"".join(value + b"\n" for value in made))
    with kcat.open("wb") as file:
        for offset, value in enumerate(made):
            record = {
                "topic": "offline-events",
                "partition": 0,
                "offset": offset,
                "tstype": "create",
                "ts": 1,
                "broker": 1,
            }
            file.write(
                orjson.dumps({**record, "key": str(offset), "payload": value.decode()}) + b"\n"
            )
    del made
    run(str(jsonl), "--as-csv", str(bodies))
    runs: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        runs.setdefault("jsonl", []).append(run(str(jsonl)))
        runs.setdefault("jsonl, --as-csv", []).append(run(str(jsonl), "--as-csv", str(bodies)))
        runs.setdefault("kcat", []).append(run(str(kcat), "--format", "kcat"))
        runs.setdefault("csv", []).append(
            run(str(bodies / "events-1111-profile_id.csv"), "--format", "csv")
        )
    return runs


def report(runs: dict[str, list[Figures]], count: int) -> str:
    """VALIDATE.md."""
    lines = [
        "# Speed of `validate`, as measured",
        "",
        f"`python -m bench.validate` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores, "
        f"{platform.machine()}, "
        f"Python {platform.python_version()}. {count:,} events of about 300 B, all different; "
        "medians of "
        f"{len(runs['jsonl'])} rounds taken in turns, the process's start included. The goal is "
        f"{GOAL_PER_SECOND:,} records/s. "
        "It runs in one thread: the figures by CPU time are those of a core that it has for "
        "itself. The load average was "
        f"{os.getloadavg()[1]:.1f} during the run: where that is above the cores, the wall clock "
        "tells of the others.",
        "",
        "| form | records/s (wall) | records/s (CPU) |",
        "| --- | --- | --- |",
    ]
    for form, figures in runs.items():
        wall = statistics.median(count / one.wall_seconds for one in figures)
        cpu = statistics.median(count / one.cpu_seconds for one in figures)
        lines.append(f"| {form} | {wall:,.0f} | {cpu:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(prog="python -m bench.validate", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("VALIDATE.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        runs = measure(Path(directory), arguments.events, arguments.rounds)
    text = report(runs, arguments.events)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

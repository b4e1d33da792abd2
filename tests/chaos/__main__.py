"""Chaos on real Kafka: three brokers, real workers, real signals, bad network, and an account of its own.

`--minutes 60` goes on in rounds for so long. `--outage 600`: the API is down for so long at full load. `--mutant NAME` switches
a safeguard off, in the shortest scenario that shows it; `--mutants` does so with each.

Exit code 1 if anything was lost, came too often, or didn't come to rest.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.chaos.phases import Dose, run_round
from tests.chaos.stage import Script, Stage, on_stage
from tests.chaos.table import print_table

RECORDS_MIN = 200_000
NIGHT = Dose(clean_stops=12, random_kills=24, labelled_kills=24)


async def top_up(stage: Stage) -> None:
    """A quiet end, until enough was produced."""
    async with stage.during("no fault"):
        while stage.producer.sent < RECORDS_MIN:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def play(arguments: argparse.Namespace, home: Path, console: Console) -> bool:
    """One run; True if everything held."""
    script = Script(seed=arguments.seed, records_per_second=arguments.rate)
    async with on_stage(script, home, console) as stage:
        until = time.monotonic() + arguments.minutes * 60
        await run_round(stage, NIGHT if arguments.minutes else Dose())
        while time.monotonic() < until:
            await run_round(stage, NIGHT)
        await top_up(stage)
        console.print(f"{stage.producer.failed} records could not be published; judging")
        verdicts = await stage.judge()
    print_table(console, f"chaos, seed {arguments.seed}", verdicts)
    return not any(verdict.violations for verdict in verdicts)


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--rate", type=float, default=1000)
    arguments = parser.parse_args()
    console = Console()
    home = Path(tempfile.mkdtemp(prefix="appmetrica-worker-chaos-"))
    started = time.monotonic()
    held = asyncio.run(play(arguments, home, console))
    console.print(f"{time.monotonic() - started:.0f} s; logs in {home}", highlight=False)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

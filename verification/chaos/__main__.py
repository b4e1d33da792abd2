"""Chaos on real Kafka: three brokers, real workers, signals, a bad network, an independent account.

`--minutes 60` goes on in rounds for that time. `--outage 600`: the API is down for that time at
full load. `--mutant NAME` switches a safeguard off in the shortest scenario that shows it,
`--scenario NAME` plays the same with all safeguards on, `--mutants` both for each.

Exit code 1 if anything was lost, was duplicated too often, or was not delivered in the end; with
`--mutants`, if a mutant was not noticed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from verification.chaos import outage
from verification.chaos.checker import Verdict
from verification.chaos.hunts import HUNTS
from verification.chaos.phases import Dose, run_round
from verification.chaos.stage import Script, Stage, on_stage
from verification.chaos.table import print_table

RECORDS_MIN = 200_000
NIGHT = Dose(clean_stops=12, random_kills=30, labelled_kills=24)
WIDTH_MIN = 150
# Records a second. Fewer in a long run, because the API's ledger is kept in memory.
RATE = 700.0
NIGHT_RATE = 500.0


@dataclass(frozen=True, slots=True)
class Run:
    """A scenario, its stage, and the title of its table."""

    title: str
    script: Script
    play: Callable[[Stage], Awaitable[None]]


async def perform(run: Run, console: Console) -> list[Verdict]:
    """Run a scenario, from the start of its stage to the table."""
    home = Path(tempfile.mkdtemp(prefix="appmetrica-worker-chaos-"))
    started = time.monotonic()
    console.print(f"[bold]{run.title}[/]; logs in {home}", highlight=False)
    async with on_stage(run.script, home, console) as stage:
        await run.play(stage)
        if stage.producer.failed:
            console.print(
                f"{stage.producer.failed} records were refused by the brokers", highlight=False
            )
        verdicts = await stage.check()
    print_table(console, f"{run.title}: {time.monotonic() - started:.0f} s", verdicts)
    return verdicts


def rounds(seed: int, rate: float, minutes: float) -> Run:
    """Apply every kind of fault: once, or in rounds for this many minutes."""

    async def play(stage: Stage) -> None:
        until = time.monotonic() + minutes * 60
        await run_round(stage, NIGHT if minutes else Dose())
        while time.monotonic() < until:
            await run_round(stage, NIGHT)
        async with stage.during("no fault"):
            # So that the figures of two runs can be compared.
            while stage.producer.sent < RECORDS_MIN:  # noqa: ASYNC110
                await asyncio.sleep(0.5)

    title = f"chaos, seed {seed}" + (f", {minutes:g} minutes" if minutes else "")
    return Run(title, Script(seed=seed, records_per_second=rate), play)


def long_outage(seed: int, rate: float, seconds: float) -> Run:
    """Stop the API for this time."""

    async def play(stage: Stage) -> None:
        await outage.long_outage(stage, seconds)

    return Run(f"outage of {seconds:g} s, seed {seed}", outage.script(seed, rate, None), play)


def hunt(name: str, seed: int, rate: float, *, is_mutated: bool) -> Run:
    """The scenario that shows this mutant, with the mutant or without."""
    scenario = HUNTS[name]
    mutant = name if is_mutated else None
    return Run(
        f"{'mutant' if is_mutated else 'scenario'} {name}",
        scenario.script(seed, rate, mutant),
        scenario.play,
    )


def held(verdicts: Sequence[Verdict]) -> bool:
    """True if nothing was violated."""
    return not any(verdict.violations for verdict in verdicts)


async def hunt_all(seed: int, rate: float, console: Console) -> bool:
    """Play each scenario with its mutant and without; True if only the mutants were noticed."""
    table = Table(title="safeguards switched off", title_justify="left")
    for column in ("safeguard", "switched on", "switched off"):
        table.add_column(column)
    is_right = True
    for name in HUNTS:
        sound = await perform(hunt(name, seed, rate, is_mutated=False), console)
        mutated = await perform(hunt(name, seed, rate, is_mutated=True), console)
        is_right = is_right and held(sound) and not held(mutated)
        noticed = "; ".join(violation for verdict in mutated for violation in verdict.violations)
        table.add_row(name, "holds" if held(sound) else "VIOLATED", noticed or "NOT NOTICED")
    console.print(table)
    return is_right


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m verification.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, help="records per second")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--minutes", type=float, default=0)
    kinds.add_argument("--outage", type=float, metavar="SECONDS")
    kinds.add_argument("--mutant", choices=sorted(HUNTS))
    kinds.add_argument("--scenario", choices=sorted(HUNTS))
    kinds.add_argument("--mutants", action="store_true")
    arguments = parser.parse_args()
    # The producer's client logs every broker that is killed.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console()
    if console.width < WIDTH_MIN:
        console = Console(width=WIDTH_MIN)
    seed, rate = arguments.seed, arguments.rate or (NIGHT_RATE if arguments.minutes else RATE)
    if arguments.mutants:
        return 0 if asyncio.run(hunt_all(seed, rate, console)) else 1
    name = arguments.mutant or arguments.scenario
    if name is not None:
        run = hunt(name, seed, rate, is_mutated=arguments.mutant is not None)
    elif arguments.outage is not None:
        run = long_outage(seed, rate, arguments.outage)
    else:
        run = rounds(seed, rate, arguments.minutes)
    return 0 if held(asyncio.run(perform(run, console))) else 1


if __name__ == "__main__":
    sys.exit(main())

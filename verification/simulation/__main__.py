"""Play histories: `--seeds 300`, or `--seed 17` for one with its log, or `--mutants`.

`--mutants` plays each with a safeguard off. Exit code 1 if an invariant was violated, or a mutant
was not noticed. The order of a set is part of a history: run it with PYTHONHASHSEED=0, as `make
simulate` does.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from verification.simulation.history import TASK_DIED, Outcome, play
from verification.simulation.mutants import MUTANTS, NOTICED_AT, mutated
from worker.sandbox.processes import end_with

MUTANT_SEEDS = 200


def begin_job(parent: int) -> None:
    """Prepare a process of the pool: it must not outlive a run that is killed."""
    end_with(parent)()
    quiet()


def quiet() -> None:
    """Write no log. Libraries log every fault of a history; a history reads the worker's lines."""
    logging.getLogger().setLevel(logging.CRITICAL + 1)
    worker = logging.getLogger("worker")
    worker.setLevel(logging.INFO)
    worker.propagate = False
    # Garbage is collected after each history: the collector needn't look through all modules again.
    gc.freeze()


def describe(outcome: Outcome) -> str:
    """A failure: the invariant, the seed, and the last lines of the history."""
    lines = "\n".join(f"    {line}" for line in outcome.lines)
    head = f"seed {outcome.seed} violates {outcome.violation}\n  {outcome.text}"
    return f"{head}\n{lines}\n  again: make simulate SEED={outcome.seed}"


def is_noticed(outcome: Outcome) -> bool:
    """True if an invariant has noticed the mutant of this history.

    A mutant that no longer fits the worker makes it crash, which shows nothing of the safeguard.
    """
    return outcome.violation not in ("", TASK_DIED)


def hunt(name: str) -> tuple[str, Outcome | None]:
    """A history that notices this mutant; None if none of the first 200 does."""
    with mutated(name):
        for seed in (NOTICED_AT.get(name, 1), *range(1, MUTANT_SEEDS + 1)):
            outcome = play(seed)
            if is_noticed(outcome):
                return name, outcome
    return name, None


def play_one(seed: int, mutant: str | None) -> int:
    """Play one history, and print it."""
    with mutated(mutant):
        outcome = play(seed)
    held = (
        f"seed {seed} holds: {outcome.delivered} events, {outcome.repeated} of them more than once"
    )
    print(describe(outcome) if outcome.violation else held)
    return int(bool(outcome.violation))


def play_all(first: int, count: int, jobs: int) -> int:
    """Play many histories, and print the first violations."""
    started = time.monotonic()
    with ProcessPoolExecutor(jobs, initializer=begin_job, initargs=(os.getpid(),)) as pool:
        outcomes = list(pool.map(play, range(first, first + count), chunksize=4))
    failed = [outcome for outcome in outcomes if outcome.violation]
    for outcome in failed[:5]:
        print(describe(outcome))
    delivered, repeated = (
        sum(one.delivered for one in outcomes),
        sum(one.repeated for one in outcomes),
    )
    print(
        f"{count} histories in {time.monotonic() - started:.1f} s: {len(failed)} violations; ",
        end="",
    )
    print(f"{delivered:,} events delivered, {repeated:,} more than once")
    return int(bool(failed))


def play_mutants(jobs: int) -> int:
    """Switch each safeguard off; print which invariant notices, and in which history."""
    with ProcessPoolExecutor(jobs, initializer=begin_job, initargs=(os.getpid(),)) as pool:
        found = list(pool.map(hunt, MUTANTS))
    for name, outcome in found:
        caught = (
            f"seed {outcome.seed}: {outcome.violation}" if outcome is not None else "NOT CAUGHT"
        )
        print(f"{name:55} {caught}")
    return int(any(outcome is None for _, outcome in found))


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m verification.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.mutants:
        return play_mutants(arguments.jobs)
    if arguments.seed is not None:
        quiet()
        return play_one(arguments.seed, arguments.mutant)
    return play_all(arguments.first, arguments.seeds, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())

"""Play histories: `python -m tests.simulation --seeds 300`, or `--seed 17` for one, told at length.

Exit code 1 if an invariant was violated. Run it with PYTHONHASHSEED=0 (`make simulate` does): a set's order is part of a history.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.history import Outcome, play


def quiet() -> None:
    """Libraries tell of every fault that a history is made of."""
    logging.disable(logging.CRITICAL)


def tell(outcome: Outcome) -> str:
    """A failure: the invariant, the seed, the last of what happened."""
    lines = "\n".join(f"    {line}" for line in outcome.lines)
    return f"seed {outcome.seed} violates {outcome.violation}\n  {outcome.text}\n{lines}\n  again: make simulate SEED={outcome.seed}"


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        quiet()
        outcome = play(arguments.seed)
        print(
            tell(outcome)
            if outcome.violation
            else f"seed {outcome.seed} holds: {outcome.delivered} events, {outcome.repeated} twice"
        )
        sys.exit(bool(outcome.violation))
    started = time.monotonic()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    with ProcessPoolExecutor(arguments.jobs, initializer=quiet) as pool:
        outcomes = list(pool.map(play, seeds, chunksize=4))
    failed = [outcome for outcome in outcomes if outcome.violation]
    for outcome in failed[:5]:
        print(tell(outcome))
    delivered, repeated = sum(one.delivered for one in outcomes), sum(one.repeated for one in outcomes)
    print(
        f"{len(outcomes)} histories in {time.monotonic() - started:.1f} s: {len(failed)} violations; "
        f"{delivered:,} events delivered, {repeated:,} of them more than once"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

"""Safeguards, each switched off in a worker process.

`python -m verification.chaos.mutants NAME run --config …`. Test code only: nothing in the worker
knows of it. The simulation's mutants name what is swapped.
"""

from __future__ import annotations

import sys

from verification.simulation.mutants import mutated
from verification.simulation.mutants.swap import Mutant, Swap
from worker.__main__ import main
from worker.core.progress.pressure import MemoryGauge


def hold_memory_without_a_bound(swap: Swap) -> None:
    swap(MemoryGauge, "is_high", property(lambda self: False))


OWN: dict[str, Mutant] = {hold_memory_without_a_bound.__name__: hold_memory_without_a_bound}
NAMES = (
    "commit_the_highest_offset_seen",
    "mark_as_delivered_before_the_answer",
    "forget_the_fence",
    "settle_dead_letters_before_they_are_acknowledged",
    *OWN,
)


def run(name: str) -> None:
    """Run the command without this safeguard."""
    if name in OWN:
        OWN[name](setattr)
        main()
    else:
        with mutated(name):
            main()


if __name__ == "__main__":
    run(sys.argv.pop(1))

"""Safeguards, each switched off by a few lines: the simulation must notice every one.

Test code only: nothing in the worker knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from verification.simulation.mutants import clocks, dedup, delivery, kafka, progress
from verification.simulation.mutants.swap import Mutant

MUTANTS: dict[str, Mutant] = (
    progress.MUTANTS | delivery.MUTANTS | dedup.MUTANTS | kafka.MUTANTS | clocks.MUTANTS
)


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """Switch this safeguard off; None leaves all on."""
    with ExitStack() as stack:

        def swap(owner: object, attribute: str, value: object) -> None:
            before = vars(owner)[attribute]
            setattr(owner, attribute, value)
            stack.callback(setattr, owner, attribute, before)

        if name is not None:
            MUTANTS[name](swap)
        yield

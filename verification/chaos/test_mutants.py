"""Each mutant has a scenario that shows it, and really swaps something."""

from __future__ import annotations

import pytest

from verification.chaos.hunts import HUNTS
from verification.chaos.mutants import NAMES, OWN
from verification.simulation.mutants import MUTANTS


def test_each_mutant_is_hunted() -> None:
    assert set(HUNTS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_swaps_what_is_there(name: str) -> None:
    swapped: list[tuple[object, str]] = []
    mutant = OWN.get(name) or MUTANTS[name]
    mutant(lambda owner, attribute, _: swapped.append((owner, attribute)))
    assert swapped
    assert all(attribute in vars(owner) for owner, attribute in swapped)

"""Clocks of workers that jump far ahead or back, and are right before the faults end."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

DAY_SECONDS = 86_400
# Beyond the age limit, beyond how far ahead an event may be dated, and within both.
JUMPS_SECONDS = (15 * DAY_SECONDS, -2 * DAY_SECONDS, 2 * DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Jump:
    """Seconds by which a worker's clock is ahead (below 0: behind) between two times."""

    worker: int
    begin: float
    end: float
    seconds: float


def draw_jumps(seed: int, workers: int, seconds: float) -> tuple[Jump, ...]:
    """The jumps of this seed's history: none in three of four."""
    chance = Random(seed + 5)
    if chance.random() < 0.75:
        return ()
    begins = [chance.choice((0.0, chance.uniform(0, seconds))) for _ in range(chance.randint(1, 2))]
    return tuple(
        Jump(
            chance.randrange(workers),
            begin,
            chance.uniform(begin, seconds),
            chance.choice(JUMPS_SECONDS),
        )
        for begin in begins
    )


def ahead(jumps: tuple[Jump, ...], worker: int, at_seconds: float) -> float:
    """How far that worker's clock is ahead at this time."""
    return sum(
        jump.seconds
        for jump in jumps
        if jump.worker == worker and jump.begin <= at_seconds < jump.end
    )

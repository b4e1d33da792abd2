"""The shortest scenario that shows each mutant. Without the mutant the scenario holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from verification.chaos import disturbances, kills, outage
from verification.chaos.stage import Script, Stage

OUTAGE_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Hunt:
    """A scenario that shows a mutant, and its stage."""

    play: Callable[[Stage], Awaitable[None]]
    script: Callable[[int, float, str | None], Script]


def _usual(seed: int, records_per_second: float, mutant: str | None) -> Script:
    return Script(seed=seed, records_per_second=records_per_second, mutant=mutant)


async def _kills(stage: Stage) -> None:
    await kills.random_kills(stage, 6)


async def _outage_with_joins(stage: Stage) -> None:
    await disturbances.api_says_503(stage)


async def _dead_letters_withheld(stage: Stage) -> None:
    async with stage.during("SIGKILL while dead letters are withheld"):
        for _ in range(3):
            await kills.kill_with_dead_letters_withheld(stage)


async def _long_outage(stage: Stage) -> None:
    await outage.long_outage(stage, OUTAGE_SECONDS)


HUNTS: Mapping[str, Hunt] = {
    "commit_the_highest_offset_seen": Hunt(_kills, _usual),
    "mark_as_delivered_before_the_answer": Hunt(_outage_with_joins, _usual),
    "forget_the_fence": Hunt(_outage_with_joins, _usual),
    "settle_dead_letters_before_they_are_acknowledged": Hunt(_dead_letters_withheld, _usual),
    "hold_memory_without_a_bound": Hunt(_long_outage, outage.script),
}

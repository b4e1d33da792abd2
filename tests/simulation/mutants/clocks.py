"""What the local clock is worth."""

from __future__ import annotations

from tests.simulation.mutants.swap import Mutant, Swap
from worker.model.clock import Now
from worker.model.command import AskTime, Log
from worker.progress.clock_check import ClockCheck, Trust


def judge_ages_by_a_clock_that_jumps(swap: Swap) -> None:
    swap(ClockCheck, "trust", lambda self, now: Trust.VOUCHED)


def judge_ages_before_the_api_has_told_its_time(swap: Swap) -> None:
    trust = ClockCheck.trust
    swap(ClockCheck, "trust", lambda self, now: Trust.VOUCHED if self._api is None else trust(self, now))


def never_ask_for_the_time(swap: Swap) -> None:
    look = ClockCheck.look

    def mute(self: ClockCheck, now: Now, *, is_waiting: bool) -> list[Log | AskTime]:
        return [command for command in look(self, now, is_waiting=is_waiting) if not isinstance(command, AskTime)]

    swap(ClockCheck, "look", mute)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        judge_ages_by_a_clock_that_jumps,
        judge_ages_before_the_api_has_told_its_time,
        never_ask_for_the_time,
    )
}

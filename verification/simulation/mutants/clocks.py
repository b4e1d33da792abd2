"""Mutants of the clock: which times are trusted."""

from __future__ import annotations

from verification.simulation.mutants.swap import Mutant, Swap
from worker.core.delivery.settlement import Settlement
from worker.core.delivery.waiting import WaitingBatches
from worker.core.model.batch import Batch
from worker.core.model.clock import Now, Trust
from worker.core.model.command import AskTime, WriteLog
from worker.core.progress.clock_check import ClockCheck


def check_ages_by_a_clock_that_jumps(swap: Swap) -> None:
    swap(ClockCheck, "trust", lambda self, now: Trust.VOUCHED)


def check_ages_before_the_api_has_given_its_time(swap: Swap) -> None:
    trust = ClockCheck.trust
    swap(
        ClockCheck,
        "trust",
        lambda self, now: Trust.VOUCHED if self._api is None else trust(self, now),
    )


def send_what_is_too_old_until_the_api_has_given_its_time(swap: Swap) -> None:
    without_expired = WaitingBatches.without_expired

    def unchecked(
        self: WaitingBatches, batch: Batch, now: Now, trust: Trust, settlement: Settlement
    ) -> Batch | None:
        return (
            batch
            if trust is Trust.UNVOUCHED
            else without_expired(self, batch, now, trust, settlement)
        )

    swap(WaitingBatches, "without_expired", unchecked)


def never_ask_for_the_time(swap: Swap) -> None:
    look = ClockCheck.look

    def mute(self: ClockCheck, now: Now, *, is_waiting: bool) -> list[WriteLog | AskTime]:
        return [
            command
            for command in look(self, now, is_waiting=is_waiting)
            if not isinstance(command, AskTime)
        ]

    swap(ClockCheck, "look", mute)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        check_ages_by_a_clock_that_jumps,
        check_ages_before_the_api_has_given_its_time,
        send_what_is_too_old_until_the_api_has_given_its_time,
        never_ask_for_the_time,
    )
}

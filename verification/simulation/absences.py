"""Partitions without a leader: drawn from a history's seed, and checks while they have none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

from aiokafka.structs import TopicPartition

from verification.simulation.kafka_model import ModelKafka
from verification.simulation.scenario import Mood, Scenario
from verification.simulation.truth import TOPIC
from verification.simulation.violation import ViolationError

# Where nothing else is wrong with the brokers, every partition with a leader has a worker within
# this time: a handover, and connections that died silently and are given up after a request's
# time-out.
HELD_SECONDS = 14.0
LOOK_SECONDS = 0.5
# Over a connection that has died silently a consumer fetches nothing: it is replaced with reason.
SILENCING = frozenset({"silence", "replace"})


@dataclass(frozen=True, slots=True)
class Absence:
    """Partitions without a leader between two times; 0 is before any worker starts."""

    begin: float
    end: float
    partitions: tuple[int, ...]


def draw_absence(scenario: Scenario) -> Absence | None:
    """The absence in this history; None for none.

    It has a random generator of its own, so other events of the history don't depend on it.
    """
    chance = Random(scenario.seed + 4)
    if chance.random() < 0.5:
        return None
    begin = chance.choice((0.0, chance.uniform(2, 8)))
    seconds = chance.uniform(2, 25) if scenario.mood is Mood.WILD else chance.uniform(22, 30)
    count = chance.randint(1, scenario.partitions - 1)
    return Absence(
        begin, begin + seconds, tuple(sorted(chance.sample(range(scenario.partitions), count)))
    )


def reads_users(scenario: Scenario) -> bool:
    """True if this history has a topic of ordered profiles.

    Not where it is checked how soon workers have the other partitions while some have no leader:
    the partitions of this topic might take too much of that time.
    """
    is_checked = scenario.mood is Mood.CALM and draw_absence(scenario) is not None
    return bool(scenario.users) and not is_checked


class Absences:
    """Takes the leaders away and brings them back.

    Args:
        kafka: the cluster.
        scenario: the history.
        held: the partitions that workers receive of at this moment.
    """

    def __init__(
        self, kafka: ModelKafka, scenario: Scenario, held: Callable[[], Collection[TopicPartition]]
    ) -> None:
        self._kafka = kafka
        self._scenario = scenario
        self._held = held
        self.drawn = draw_absence(scenario)
        if self.drawn is not None and self.drawn.begin == 0:
            self._lose(self.drawn)

    async def play(self) -> None:
        """Take the leaders away, check the other partitions, and bring the leaders back."""
        absence = self.drawn
        if absence is None:
            return
        await asyncio.sleep(absence.begin)
        self._lose(absence)
        await asyncio.sleep(absence.end - absence.begin - HELD_SECONDS if self._is_calm else 0)
        await self._check_that_others_are_held(absence)
        for number in absence.partitions:
            self._kafka.faults.find_leader(TopicPartition(TOPIC, number))

    def check_rebuilds(self, rebuilds: int) -> None:
        """Check that no consumer was replaced where only leaders were missing."""
        is_silenced = any(moment.what in SILENCING for moment in self._scenario.moments)
        if self.drawn is not None and self._is_calm and not is_silenced and rebuilds:
            raise ViolationError(
                "9 rebuild",
                f"{rebuilds} consumers were replaced; {self.drawn} is no fault of theirs",
            )

    @property
    def _is_calm(self) -> bool:
        return self._scenario.mood is Mood.CALM

    def _lose(self, absence: Absence) -> None:
        for number in absence.partitions:
            self._kafka.faults.lose_leader(TopicPartition(TOPIC, number))

    async def _check_that_others_are_held(self, absence: Absence) -> None:
        """Check that each other partition has a worker at some time before the absence ends."""
        there = {TopicPartition(TOPIC, number) for number in range(self._scenario.partitions)}
        missing = there - {TopicPartition(TOPIC, number) for number in absence.partitions}
        loop = asyncio.get_running_loop()
        while loop.time() < absence.end:
            missing -= set(self._held())
            await asyncio.sleep(LOOK_SECONDS)
        silenced_at = max(
            (one.seconds for one in self._scenario.moments if one.what in SILENCING), default=0.0
        )
        if missing and self._is_calm and silenced_at <= absence.end - HELD_SECONDS:
            raise ViolationError(
                "9 away",
                f"{sorted(missing)} are read by nobody while others have no leader: {absence}",
            )

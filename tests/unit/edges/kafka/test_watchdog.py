"""Dead consumers and partitions that are away, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import pairwise

from aiokafka.errors import KafkaConnectionError

from tests.builders import make_assignment
from verification.simulation import virtual_loop
from worker.core.model.record import TopicPartition
from worker.edges.kafka.offset_lookup import LogBounds, Unavailable
from worker.edges.kafka.partition_health import PartitionHealth
from worker.edges.kafka.watchdog import Answers, Watchdog

FIRST, SECOND = make_assignment(0), make_assignment(1)
STALL_SECONDS = 8.0
THERE = LogBounds(0, 10)
AWAY = Unavailable("it has no leader")


class Leaders:
    """Their answers; None: no broker answers."""

    def __init__(self, *answers: LogBounds | Unavailable | None) -> None:
        self._answers = list(answers)
        self.asked_at: list[float] = []

    async def look_up(self, partitions: Collection[TopicPartition]) -> Answers:
        self.asked_at.append(asyncio.get_running_loop().time())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            raise KafkaConnectionError("nobody is there")
        return dict.fromkeys(partitions, answer)


def watched(leaders: Leaders, *, silent: int = 1, seconds: int = 60) -> tuple[str | None, set[str]]:
    """The verdict on a consumer that fetches nothing of `silent` partitions, and what is away."""

    async def history() -> tuple[str | None, set[str]]:
        health = PartitionHealth(STALL_SECONDS)
        health.begin([FIRST, SECOND])
        watchdog = Watchdog(health, leaders.look_up)
        away: set[str] = set()
        for second in range(seconds):
            marks = {FIRST: 1, SECOND: 1 if silent == 2 else second}
            health.watch({FIRST, SECOND}, marks)
            if (reason := watchdog.advance()) is not None:
                return reason, away
            away |= set(watchdog.unavailable.values())
            await asyncio.sleep(1)
        await watchdog.close()
        return None, away

    return virtual_loop.run(history(), seconds_max=1000.0)


def test_a_leader_that_answers_twice_shows_that_the_consumer_is_dead() -> None:
    leaders = Leaders(THERE)
    reason, _ = watched(leaders)
    assert reason == f"no fetch of {FIRST} for 8 s, though its leader answers"
    assert len(leaders.asked_at) == 2


def test_a_partition_without_a_leader_is_no_dead_consumer_and_is_asked_for_more_rarely() -> None:
    leaders = Leaders(AWAY)
    assert watched(leaders) == (None, {"it has no leader"})
    gaps = [later - earlier for earlier, later in pairwise(leaders.asked_at)]
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1]


def test_a_leader_that_has_just_come_back_proves_nothing() -> None:
    assert watched(Leaders(AWAY, THERE, AWAY))[0] is None


def test_without_any_broker_only_a_consumer_that_fetches_nothing_at_all_is_dead() -> None:
    assert watched(Leaders(None))[0] is None
    reason, _ = watched(Leaders(None), silent=2)
    assert reason is not None
    assert reason.startswith("no fetch of any partition for 8 s, and no broker answers: Kafka")

"""Partitions that fail, are silent or away, and dead consumers, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import pairwise

from aiokafka.errors import KafkaConnectionError

from tests.builders import make_assignment
from verification.simulation import virtual_loop
from worker.core.model.record import TopicPartition
from worker.edges.kafka.consumer_health import WAIT_SECONDS_MAX, Answers, PartitionHealth, Watchdog
from worker.edges.kafka.offset_lookup import LogBounds, Unavailable

FIRST, SECOND = make_assignment(0), make_assignment(1)
STALL_SECONDS = 8.0


def health() -> PartitionHealth:
    watched = PartitionHealth(STALL_SECONDS)
    watched.begin([FIRST, SECOND])
    return watched


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_partition_is_put_off_for_a_time_that_grows_and_forgets_it_once_it_is_read() -> None:
    async def history() -> None:
        watched = health()
        waits = []
        for _ in range(8):
            watched.note_error(FIRST, 3, "no leader")
            assert watched.is_put_off(FIRST)
            assert not watched.is_put_off(SECOND)
            until = watched.next_retry()
            assert until is not None
            waits.append(until - now())
            await asyncio.sleep(waits[-1])
            assert not watched.is_put_off(FIRST)
        assert waits == [1, 2, 4, 8, 16, WAIT_SECONDS_MAX, WAIT_SECONDS_MAX, WAIT_SECONDS_MAX]
        assert watched.errors == {FIRST: "no leader"}
        watched.note_read(FIRST)
        assert (watched.errors, watched.next_retry()) == ({}, None)
        watched.note_error(FIRST, 3, "no leader")
        assert watched.next_retry() == now() + 1

    virtual_loop.run(history(), seconds_max=1000.0)


def test_a_consumer_of_which_every_partition_fails_for_long_is_to_blame() -> None:
    async def history() -> None:
        watched = health()
        watched.note_error(FIRST, 3, "NotLeaderError: first")
        await asyncio.sleep(STALL_SECONDS + 1)
        assert watched.failure() is None
        watched.note_error(SECOND, 3, "NotLeaderError: second")
        assert watched.failure() is None
        await asyncio.sleep(STALL_SECONDS + 1)
        assert watched.failure() == "every partition has failed for 8 s: NotLeaderError: first"

    virtual_loop.run(history(), seconds_max=1000.0)


def test_damage_is_no_fault_of_the_consumer() -> None:
    async def history() -> None:
        watched = health()
        watched.note_error(FIRST, 3, "CorruptRecordException: checksum")
        watched.note_error(SECOND, 3, "CorruptRecordException: checksum")
        await asyncio.sleep(STALL_SECONDS + 1)
        assert watched.failure() is None

    virtual_loop.run(history(), seconds_max=1000.0)


def test_a_partition_is_silent_while_its_last_fetch_stays_the_last() -> None:
    async def history() -> None:
        watched = health()
        for second in range(10):
            watched.watch({FIRST, SECOND}, {FIRST: 7, SECOND: second})
            await asyncio.sleep(1)
        assert watched.silent() == {FIRST}
        watched.watch({FIRST, SECOND}, {SECOND: 11})
        assert watched.silent() == frozenset()

    virtual_loop.run(history(), seconds_max=1000.0)


def test_what_is_gone_is_forgotten() -> None:
    async def history() -> None:
        watched = health()
        watched.watch({FIRST, SECOND}, {FIRST: 7, SECOND: 7})
        watched.note_error(FIRST, 3, "no leader")
        watched.begin([SECOND])
        await asyncio.sleep(STALL_SECONDS + 1)
        assert watched.errors == {}
        assert watched.silent() == {SECOND}

    virtual_loop.run(history(), seconds_max=1000.0)


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

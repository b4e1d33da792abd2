"""Partitions that can't be read or fall silent, on virtual time."""

from __future__ import annotations

import asyncio

from tests.builders import make_assignment
from verification.simulation import virtual_loop
from worker.edges.kafka.partition_health import WAIT_SECONDS_MAX, PartitionHealth

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

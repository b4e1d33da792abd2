"""Virtual time: it jumps, histories repeat, and an error names why a history can't continue."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.yardstick import REPEATS, units
from verification.simulation.virtual_loop import DeadlockError, SpinError, TimeExceededError, run


def test_an_hour_of_sleep_takes_no_time_and_ends_exactly_then() -> None:
    async def history() -> list[float]:
        clock = asyncio.get_running_loop().time
        moments = [clock()]
        for seconds in (0.1, 3599.9, 0.001):
            await asyncio.sleep(seconds)
            moments.append(clock())
        return moments

    # Real waiting would exceed the test's time-out.
    assert run(history(), seconds_max=4000) == pytest.approx([0, 0.1, 3600, 3600.001])


def test_ten_thousand_timers_are_quick_and_go_off_in_order() -> None:
    async def history() -> list[int]:
        order: list[int] = []
        done = asyncio.get_running_loop().create_future()
        numbers = list(range(10_000))
        random.Random(1).shuffle(numbers)
        for number in numbers:
            asyncio.get_running_loop().call_later(number, order.append, number)
        asyncio.get_running_loop().call_later(10_000, done.set_result, None)
        await done
        return order

    moments: list[list[int]] = []
    # A loop that looked through all timers at each turn would take many times as much.
    assert units(lambda: moments.append(run(history(), seconds_max=20_000))) < 100
    assert moments == [list(range(10_000))] * REPEATS


def test_a_deadlock_names_the_tasks_that_wait() -> None:
    async def history() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.Event().wait(), name="who-waits-in-vain")

    with pytest.raises(DeadlockError, match="who-waits-in-vain"):
        run(history(), seconds_max=10)


def test_a_history_that_takes_too_long_is_ended() -> None:
    async def history() -> None:
        while True:  # noqa: ASYNC110 - for ever is the point
            await asyncio.sleep(1)

    with pytest.raises(TimeExceededError, match="10 s"):
        run(history(), seconds_max=10)


def test_a_task_that_spins_is_found_out() -> None:
    async def history() -> None:
        while True:  # noqa: ASYNC110 - for ever is the point
            await asyncio.sleep(0)

    with pytest.raises(SpinError, match="time does not move"):
        run(history(), seconds_max=10)


def test_the_same_coroutine_has_the_same_history() -> None:
    async def history() -> list[tuple[float, int]]:
        events: list[tuple[float, int]] = []

        async def walk(number: int) -> None:
            for _ in range(20):
                await asyncio.sleep(random.random())
                events.append((asyncio.get_running_loop().time(), number))

        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(walk(number))
        return events

    assert run(history(), seconds_max=100) == run(history(), seconds_max=100)


def test_work_for_a_thread_is_done_in_line() -> None:
    async def history() -> int:
        return await asyncio.to_thread(sum, [1, 2, 3])

    assert run(history(), seconds_max=1) == 6


def test_what_is_still_running_at_the_end_is_cancelled() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def history() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1)
        assert not task.done()

    run(history(), seconds_max=10)
    assert ended == [True]


def test_the_failure_of_a_history_is_what_is_raised() -> None:
    async def history() -> None:
        raise ValueError("what went wrong")

    with pytest.raises(ValueError, match="what went wrong"):
        run(history(), seconds_max=10)

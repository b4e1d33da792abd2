"""The inbox: events in order of arrival, and turns of which none is long."""

from __future__ import annotations

import asyncio

from worker.core.model.event import KeyChanged, TimePassed
from worker.daemon.inbox import TURN_SECONDS_MAX, Inbox


class Clock:
    """Shows the time that a test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


async def test_events_come_in_the_order_in_which_they_were_posted_and_time_passes_without_any() -> (
    None
):
    inbox = Inbox(Clock())
    for number in range(3):
        inbox.post(KeyChanged(number))
    assert [await inbox.get(until=None) for _ in range(3)] == [
        KeyChanged(number) for number in range(3)
    ]
    assert await inbox.get(until=0.0) == TimePassed()


async def test_all_other_tasks_have_a_turn_however_many_events_wait() -> None:
    clock = Clock()
    inbox = Inbox(clock)
    handled = 0
    handled_before_each_turn: list[int] = []

    async def other() -> None:
        while True:
            handled_before_each_turn.append(handled)
            await asyncio.sleep(0)

    for number in range(200):
        inbox.post(KeyChanged(number))
    task = asyncio.create_task(other())
    for _ in range(200):
        await inbox.get(until=None)
        handled += 1
        clock.seconds += TURN_SECONDS_MAX / 5
    task.cancel()
    assert [
        b - a
        for a, b in zip([0, *handled_before_each_turn], handled_before_each_turn, strict=False)
    ] == [5] * 39


async def test_events_that_cost_nothing_are_handled_in_one_turn() -> None:
    inbox = Inbox(Clock())
    turns = 0

    async def other() -> None:
        nonlocal turns
        turns += 1

    for number in range(200):
        inbox.post(KeyChanged(number))
    task = asyncio.create_task(other())
    for _ in range(200):
        await inbox.get(until=None)
    assert turns == 0
    await task


async def test_a_turn_begins_anew_where_the_reader_has_waited() -> None:
    clock = Clock()
    inbox = Inbox(clock)
    turns = 0

    async def other() -> None:
        nonlocal turns
        turns += 1

    assert await inbox.get(until=0.0) == TimePassed()
    clock.seconds += 1000.0
    assert await inbox.get(until=0.0) == TimePassed()
    task = asyncio.create_task(other())
    inbox.post(KeyChanged(1))
    inbox.post(KeyChanged(2))
    assert [await inbox.get(until=None), await inbox.get(until=None)] == [
        KeyChanged(1),
        KeyChanged(2),
    ]
    assert turns == 0, "the others had their turn while it waited"
    await task

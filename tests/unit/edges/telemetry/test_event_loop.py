"""The delay of the event loop, and what tasks wait for."""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from worker.edges.telemetry.event_loop import (
    BLOCKED_SECONDS_MAX,
    FRAMES_MAX,
    INTERVAL_SECONDS,
    LOOK_SECONDS,
    TASKS_MAX,
    LoopLag,
    LoopWatchdog,
    dump_tasks,
    dump_threads,
)


class LateLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own: each timer is called `late_seconds` too late."""

    def __init__(self, late_seconds: float) -> None:
        self._late_seconds = late_seconds
        self._now = 0.0
        super().__init__()

    def time(self) -> float:
        return self._now

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._now = when + self._late_seconds
        return super().call_at(when, callback, *args, context=context)


def lag_of(loop: LateLoop, waits: int = 3) -> list[int]:
    """The cumulative counts after some waits."""
    lag = LoopLag()

    async def measure() -> None:
        task = asyncio.ensure_future(lag.run())
        for _ in range(100 * waits):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    try:
        loop.run_until_complete(measure())
    finally:
        loop.close()
    counts = lag.histogram.cumulative()
    assert counts[-1] >= waits
    return counts


def test_a_loop_that_turns_in_time_has_no_lag() -> None:
    counts = lag_of(LateLoop(0.0))
    assert counts[0] == counts[-1]


def test_a_loop_that_is_late_shows_by_how_much() -> None:
    late_seconds = 0.2
    assert late_seconds < INTERVAL_SECONDS
    counts = lag_of(LateLoop(late_seconds))
    bounds = LoopLag().histogram.bounds
    shown = dict(zip((*bounds, float("inf")), counts, strict=True))
    assert (shown[0.1], shown[0.25]) == (0, counts[-1])


class Watched:
    """A watchdog that looks once a second, and what it reports."""

    def __init__(self) -> None:
        self.watchdog = LoopWatchdog(print)
        self.now = time.monotonic()
        self.watchdog.turn(self.now)

    def reports(self, seconds: int) -> list[int]:
        """What is reported in the next seconds, in which the loop does not turn."""
        found = []
        for _ in range(seconds):
            self.now += LOOK_SECONDS
            found.append(self.watchdog.look(self.now))
        return [round(one) for one in found if one is not None]


def test_a_loop_that_does_not_turn_is_reported_once_for_each_blockade() -> None:
    watched = Watched()
    assert watched.reports(4) == []
    assert watched.reports(60) == [round(BLOCKED_SECONDS_MAX) + 1]
    watched.watchdog.turn(watched.now)
    assert watched.reports(4) == []
    assert watched.reports(60) == [round(BLOCKED_SECONDS_MAX) + 1]


def test_a_process_that_was_stopped_as_a_whole_is_no_blocked_loop() -> None:
    watched = Watched()
    assert watched.reports(2) == []
    watched.now += 100.0
    assert watched.reports(1) == []
    # What follows counts from there.
    assert watched.reports(60) == [round(BLOCKED_SECONDS_MAX) + 1]


async def test_a_dump_names_each_task_and_the_innermost_frame_in_which_it_waits() -> None:
    event = asyncio.Event()

    async def waits_for_the_event() -> None:
        await event.wait()

    async def work() -> None:
        await waits_for_the_event()

    task = asyncio.create_task(work(), name="the waiting task")
    await asyncio.sleep(0)
    (line,) = [line for line in dump_tasks() if line.startswith("the waiting task: ")]
    assert re.fullmatch(
        r"the waiting task: work \(test_event_loop.py:\d+\) > "
        r"waits_for_the_event \(test_event_loop.py:\d+\) > wait \(locks.py:\d+\)",
        line,
    )
    event.set()
    await task


async def test_a_dump_is_bounded_in_tasks_and_in_frames() -> None:
    event = asyncio.Event()

    async def deep(level: int) -> None:
        await (deep(level - 1) if level else event.wait())

    tasks = [asyncio.create_task(deep(2 * FRAMES_MAX)) for _ in range(2 * TASKS_MAX)]
    await asyncio.sleep(0)
    lines = dump_tasks()
    event.set()
    await asyncio.gather(*tasks)
    assert len(lines) == TASKS_MAX
    assert max(line.count(" > ") for line in lines) == FRAMES_MAX - 1
    assert any(line.endswith(")") and "wait (locks.py:" in line for line in lines)


def test_a_dump_of_threads_shows_where_each_is_and_no_value() -> None:
    ready, done = threading.Event(), threading.Event()

    def holds_a_secret(secret: str) -> None:
        ready.set()
        done.wait()
        assert secret

    thread = threading.Thread(target=holds_a_secret, args=("s3cret",), name="the waiting thread")
    thread.start()
    ready.wait()
    lines = dump_threads()
    done.set()
    thread.join()
    (line,) = [line for line in lines if line.startswith("the waiting thread: ")]
    assert "holds_a_secret (test_event_loop.py:" in line
    assert any("test_a_dump_of_threads" in line for line in lines if line.startswith("MainThread"))
    assert "s3cret" not in str(lines)

"""What the event loop does: how late it turns, and where its tasks and the threads are.

A stack is names of functions, files and lines: no value of a variable, so neither a payload nor a
key.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from worker.core.counters.counters import Histogram

INTERVAL_SECONDS = 0.25
_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# How long the loop may not turn before that is reported: a liveness probe needs about 30 s to give
# a worker up.
BLOCKED_SECONDS_MAX = 5.0
LOOK_SECONDS = 1.0
# Bounds of a dump. Of a deep stack the innermost frames are shown.
TASKS_MAX = 100
THREADS_MAX = 40
FRAMES_MAX = 12


class LoopLag:
    """Measures the delay of the event loop, which heartbeats, answers and signals share.

    It asks to be woken four times a second and observes how late it was woken.
    """

    def __init__(self) -> None:
        self.histogram = Histogram(_BOUNDS)

    async def run(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + INTERVAL_SECONDS
            await asyncio.sleep(INTERVAL_SECONDS)
            self.histogram.observe(max(0.0, clock() - due))


class LoopWatchdog:
    """Notices an event loop that does not turn, from a thread of its own.

    A blocked loop answers no probe, and the platform restarts the worker: without this nothing
    would show where the loop was.

    Args:
        report: called in the thread, once for each blockade, with the loop and the seconds so far.
    """

    def __init__(self, report: Callable[[asyncio.AbstractEventLoop, float], object]) -> None:
        self._report = report
        self._turned_at = self._looked_at = time.monotonic()
        self._is_reported = False
        self._has_ended = threading.Event()

    async def run(self) -> None:
        """Turn with the loop until cancelled, while the thread looks."""
        self._turned_at = self._looked_at = time.monotonic()
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._watch, args=(loop,), name="loop watchdog", daemon=True
        ).start()
        try:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                self.turn(time.monotonic())
        finally:
            self._has_ended.set()

    def turn(self, monotonic_seconds: float) -> None:
        """Take note that the loop has turned."""
        self._turned_at, self._is_reported = monotonic_seconds, False

    def look(self, monotonic_seconds: float) -> float | None:
        """Return for how long the loop has been blocked, once for each blockade.

        A late look shows that the whole process was stopped, which is no blockade.
        """
        late_seconds = monotonic_seconds - self._looked_at - LOOK_SECONDS
        self._looked_at = monotonic_seconds
        if late_seconds > LOOK_SECONDS:
            self.turn(monotonic_seconds)
        seconds = monotonic_seconds - self._turned_at
        if self._is_reported or seconds <= BLOCKED_SECONDS_MAX:
            return None
        self._is_reported = True
        return seconds

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._has_ended.wait(LOOK_SECONDS):
            if (seconds := self.look(time.monotonic())) is not None:
                self._report(loop, seconds)


def dump_tasks() -> list[str]:
    """Describe each task of the running loop: its name, and where it waits, outermost first."""
    tasks = list(asyncio.all_tasks())[:TASKS_MAX]
    return [_line(task.get_name(), list(_frames_of_task(task))) for task in tasks]


def dump_threads() -> list[str]:
    """Describe each thread: its name, and where it is, outermost first. For any thread."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = list(sys._current_frames().items())[:THREADS_MAX]  # noqa: SLF001  # the only way to the stack of another thread
    return [
        _line(names.get(number, f"thread {number}"), list(_frames_of_thread(frame))[::-1])
        for number, frame in frames
    ]


def _line(name: str, frames: list[str]) -> str:
    return f"{name}: {' > '.join(frames[-FRAMES_MAX:]) or 'done'}"


def _frames_of_thread(innermost: FrameType) -> Iterator[str]:
    frame: FrameType | None = innermost
    while frame is not None:
        yield _place(frame.f_code, frame.f_lineno)
        frame = frame.f_back


def _frames_of_task(task: asyncio.Task[Any]) -> Iterator[str]:
    """Follow what the coroutine awaits: a suspended task itself knows only its outermost frame."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = _first(waiting, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            yield _place(frame.f_code, frame.f_lineno)
        waiting = _first(waiting, "cr_await", "gi_yieldfrom", "ag_await")


def _first(source: object, *names: str) -> Any:
    """Return the first of these attributes that the source has."""
    values = (getattr(source, name, None) for name in names)
    return next((value for value in values if value is not None), None)


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_name} ({code.co_filename.rpartition('/')[2]}:{line})"

"""What the event loop does: how late it turns, and where its tasks and the threads are.

A stack is names of functions, files and lines: no value of a variable, so neither a payload nor a
key.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from worker.core.counters.counters import Histogram

INTERVAL_SECONDS = 0.25
_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
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

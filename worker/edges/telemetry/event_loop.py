"""What the event loop does: how late it turns, and what each task waits for."""

from __future__ import annotations

import asyncio
from typing import Any

from worker.core.counters.counters import Histogram

INTERVAL_SECONDS = 0.25
_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# Bounds of a dump, so that it stays one log line.
TASKS_MAX = 40
FRAMES_MAX = 4


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
    """Describe each task: its name, and the innermost frames in which it waits."""
    return [f"{task.get_name()}: {_frames(task)}" for task in list(asyncio.all_tasks())[:TASKS_MAX]]


def _frames(task: asyncio.Task[Any]) -> str:
    frames = [
        f"{frame.f_code.co_name} ({frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno})"
        for frame in task.get_stack(limit=FRAMES_MAX)
    ]
    return " > ".join(frames) or "done"

"""Where every task stands: what shows why nothing moves."""

from __future__ import annotations

import asyncio
from typing import Any

# Bounds of a report, so that it stays one log line.
TASKS_MAX = 40
FRAMES_MAX = 4


def dump_tasks() -> list[str]:
    """One text per task: its name, and the innermost frames it waits in."""
    return [f"{task.get_name()}: {_frames(task)}" for task in list(asyncio.all_tasks())[:TASKS_MAX]]


def _frames(task: asyncio.Task[Any]) -> str:
    frames = [
        f"{frame.f_code.co_name} ({frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno})"
        for frame in task.get_stack(limit=FRAMES_MAX)
    ]
    return " > ".join(frames) or "done"

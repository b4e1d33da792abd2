"""Tasks that must not end before they are told to.

A task group takes no notice of a child that is cancelled, and libraries cancel what they were asked
to wait for (aiokafka does when its own tasks die): the child would be gone, and everything would
look well. So the end of such a task is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class TaskEndedError(RuntimeError):
    """A task that must last has ended by itself."""


def is_cancelled_from_within() -> bool:
    """In an `except CancelledError`: True if nobody has asked the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


async def supervise(name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run this until cancelled. It is called only once the task has begun: a stop may come before.

    Raises:
        EndedError: it returned, or was cancelled from within.
    """
    try:
        await work()
    except asyncio.CancelledError:
        if is_cancelled_from_within():
            raise TaskEndedError(f"{name} was cancelled from within") from None
        raise
    raise TaskEndedError(f"{name} has come to its end")

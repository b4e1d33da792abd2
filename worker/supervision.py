"""Tasks that must run until they are cancelled.

A task group ignores a child that is cancelled, and libraries cancel what they were asked to wait
for (aiokafka does when its own tasks die): the child would be gone, and everything would look
healthy. So the end of such a task is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class TaskEndedError(RuntimeError):
    """A supervised task has ended by itself."""


def is_cancelled_from_within() -> bool:
    """Return whether the current `CancelledError` came from a library.

    For an `except CancelledError`: True if nobody has cancelled the running task.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0


async def supervise(name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run `work` until cancelled.

    It is called when the task has begun: a stop may come before.

    Raises:
        TaskEndedError: it returned, or was cancelled from within.
    """
    try:
        await work()
    except asyncio.CancelledError:
        if is_cancelled_from_within():
            raise TaskEndedError(f"{name} was cancelled from within") from None
        raise
    raise TaskEndedError(f"{name} has come to its end")

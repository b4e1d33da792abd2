"""Tasks that must not end: whatever ends them but us is an error."""

from __future__ import annotations

import asyncio

import pytest

from worker.supervision import TaskEndedError, supervise


async def returns() -> None:
    return


async def is_cancelled_by_what_it_waits_for() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def breaks() -> None:
    raise ValueError("broken")


async def test_a_task_that_returns_is_an_error() -> None:
    with pytest.raises(TaskEndedError, match="the work has come to its end"):
        await supervise("the work", returns)


async def test_a_task_that_a_library_cancels_is_an_error() -> None:
    async def in_a_group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(supervise("the work", is_cancelled_by_what_it_waits_for))

    with pytest.raises(ExceptionGroup) as caught:
        await in_a_group()
    assert [str(error) for error in caught.value.exceptions] == [
        "the work was cancelled from within"
    ]


async def test_a_task_that_we_cancel_just_ends() -> None:
    task = asyncio.create_task(supervise("the work", asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_its_own_error_is_raised_as_it_is() -> None:
    with pytest.raises(ValueError, match="broken"):
        await supervise("the work", breaks)


async def test_a_task_that_is_cancelled_before_its_first_step_leaves_nothing_unawaited() -> None:
    begun = []

    async def work() -> None:
        begun.append(True)

    task = asyncio.create_task(supervise("the work", work))
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), begun) == (True, [])

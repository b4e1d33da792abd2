"""Ends a consumer for good, whatever becomes of aiokafka's own stop.

That may hang while brokers are away, swallow the cancellation that is to end it, or raise CancelledError on its way (aiokafka
#647). What it hasn't come to by then would go on for ever: connections, the task that renews metadata, one that fetches records
for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from aiokafka import AIOKafkaConsumer

# A first cancellation may be swallowed, by a fetcher that changes to another assignment; a second one gets through.
CANCELLATIONS = 2
# What is cancelled ends at once, and so do connections.
REST_SECONDS_MAX = 1.0


async def close_consumer(consumer: AIOKafkaConsumer, seconds_max: float) -> str | None:
    """Stop it, and what that leaves behind; returns what went wrong, None for nothing.

    Args:
        consumer: started or not.
        seconds_max: for its stop; what is left behind then takes some seconds at most.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        is_in_time, _ = await asyncio.wait([stopping], timeout=seconds_max)
    finally:
        await _end([stopping])
        # No public way: a consumer whose stop has begun takes no second one.
        await _end(list(_tasks(consumer)))
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_SECONDS_MAX):
                await consumer._client.close()
    if not is_in_time:
        return f"not stopped in {seconds_max:g} s"
    return None if stopping.cancelled() or stopping.exception() is None else repr(stopping.exception())


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what still goes on."""
    for _ in range(CANCELLATIONS):
        left = [task for task in tasks if not task.done()]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=REST_SECONDS_MAX)


def _tasks(consumer: AIOKafkaConsumer) -> Iterator[asyncio.Task[None]]:
    """What aiokafka has started for this consumer. A member's coordinator has other tasks than that of one without a group."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task"):
        task = getattr(coordinator, name, None)
        if task is not None:
            yield task
    if fetcher is not None:
        yield fetcher._fetch_task
        yield from list(fetcher._pending_tasks)

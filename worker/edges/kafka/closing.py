"""Ends a client of Kafka for good, whatever becomes of aiokafka's own stop.

That may hang while brokers are away, swallow the cancellation that is to end it, or raise
CancelledError on its way (aiokafka #647). What it hasn't come to by then would go on for ever:
connections, the task that renews metadata, one that fetches records for nobody, one that sends what
nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

# A first cancellation may be swallowed, by a fetcher that changes to another assignment; a second
# one gets through.
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
    return await _close(
        stopping, seconds_max, lambda: _tasks_of_consumer(consumer), consumer._client
    )


async def close_producer(producer: AIOKafkaProducer, seconds_max: float) -> str | None:
    """As `close_consumer`.

    What hasn't been acknowledged by then may be written or not, and nobody is told.
    """
    # Its stop starts a task that it doesn't keep, and that waits for ever for what isn't
    # acknowledged: so this does the same.
    producer._closed = True
    flushing = asyncio.ensure_future(producer.flush())
    sender = producer._sender
    return await _close(
        flushing,
        seconds_max,
        lambda: [sender.sender_task] if sender.sender_task is not None else [],
        producer.client,
    )


async def _close(
    stopping: asyncio.Task[None],
    seconds_max: float,
    left_behind: Callable[[], Iterable[asyncio.Task[None]]],
    client: AIOKafkaClient,
) -> str | None:
    # By aiokafka's private parts, as there is no public way: a client whose stop has begun takes no
    # second one.
    try:
        is_in_time, _ = await asyncio.wait([stopping], timeout=seconds_max)
    finally:
        await _end([stopping])
        await _end(list(left_behind()))
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_SECONDS_MAX):
                await client.close()
    if not is_in_time:
        return f"not stopped in {seconds_max:g} s"
    return (
        None if stopping.cancelled() or stopping.exception() is None else repr(stopping.exception())
    )


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what still goes on."""
    for _ in range(CANCELLATIONS):
        left = [task for task in tasks if not task.done()]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=REST_SECONDS_MAX)


def _tasks_of_consumer(consumer: AIOKafkaConsumer) -> Iterator[asyncio.Task[None]]:
    """What aiokafka has started for it.

    A member's coordinator has other tasks than that of one without a group.
    """
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    for name in (
        "_coordination_task",
        "_heartbeat_task",
        "_commit_refresh_task",
        "_reset_committed_task",
    ):
        task = getattr(coordinator, name, None)
        if task is not None:
            yield task
    if fetcher is not None:
        yield fetcher._fetch_task
        yield from list(fetcher._pending_tasks)

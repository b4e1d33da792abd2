"""Closes a Kafka client completely, even where aiokafka's own stop fails or hangs.

aiokafka's stop may hang while brokers are away, swallow the cancellation that should end it, or
raise CancelledError half way (aiokafka #647). Everything after that point would go on for ever:
connections, the task that renews metadata, a fetch of records for nobody, a sender without callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from worker.edges.kafka.aiokafka_internals.consumer import client_of, tasks_of

# A fetcher that changes to another assignment may swallow the first cancellation; the second one
# ends it.
CANCELLATIONS = 2
# A cancelled task ends at once, and so does a connection.
REST_SECONDS_MAX = 1.0


async def close_consumer(consumer: AIOKafkaConsumer, seconds_max: float) -> str | None:
    """Stop this consumer, and end what its own stop leaves behind.

    Args:
        consumer: started or not.
        seconds_max: for its own stop; ending the rest takes some seconds more at most.

    Returns:
        What went wrong, None for nothing.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    return await _close(stopping, seconds_max, lambda: tasks_of(consumer), client_of(consumer))


async def close_producer(producer: AIOKafkaProducer, seconds_max: float) -> str | None:
    """As `close_consumer`.

    A record that is not acknowledged by then may be written or not, and nobody learns which.
    """
    # The producer's own stop starts a task that it does not keep, and that waits for ever for
    # acknowledgements. So its steps are taken here.
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
    """Cancel the tasks that still run."""
    for _ in range(CANCELLATIONS):
        left = [task for task in tasks if not task.done()]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=REST_SECONDS_MAX)

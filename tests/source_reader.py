"""A source on a real broker whose events a test takes one by one, as the runner would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from worker.core.model.event import Event, Received, Revoked
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment
from worker.core.model.row import Row
from worker.core.wire import commit_metadata
from worker.daemon.inbox import Inbox
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.membership import SourceOptions
from worker.edges.kafka.receiver import PollOptions
from worker.edges.kafka.source import KafkaSource
from worker.edges.kafka.window_rebuild import TailOptions
from worker.edges.kafka.writer import TopicWriter

EVENT_SECONDS_MAX = 30.0
T = TypeVar("T")


def connection(bootstrap_servers: str) -> KafkaConnection:
    return KafkaConnection(tuple(bootstrap_servers.split(",")), "test", 9.0, KafkaSecurity())


class SourceReader:
    """A source whose events a test takes one by one, as the runner would."""

    def __init__(self, brokers: str | KafkaConnection, topic: str, **changes: Any) -> None:
        self.inbox = Inbox(time.perf_counter)
        options = SourceOptions(
            topics=(topic,),
            optional_topics=frozenset(),
            group_id=topic,
            session_timeout_seconds=10,
            heartbeat_interval_seconds=1,
            rebalance_timeout_seconds=8,
            drain_on_revoke_seconds=4,
            commit_timeout_seconds=3,
            partition_fetch_bytes_max=65_536,
            fetch_bytes_max=1_048_576,
            starts_at_latest=False,
            poll=PollOptions(100, skips_corrupt=False, stall_seconds=60),
            tail=TailOptions(1000, {topic: 10_000}, 10.0, 86_400.0, commit_metadata.end),
            naming={},
            look_seconds=0.5,
        )
        options = replace(options, **changes)
        connected = connection(brokers) if isinstance(brokers, str) else brokers
        self.source = KafkaSource(connected, options, self.inbox.post, self.inbox.drained)
        self.seen: list[Event] = []
        self.diagnosed: list[str] = []

    async def run(self) -> None:
        """Run the source, as the daemon does."""
        await self.source.run(self.diagnosed.append)

    async def next(self) -> Event:
        """The next event; the one before it counts as handled."""
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            event = await self.inbox.get(None)
        self.seen.append(event)
        return event

    async def until(self, kind: type[T]) -> T:
        """The next event of this kind; revocations on the way are released."""
        for _ in range(10_000):
            event = await self.next()
            if isinstance(event, kind):
                return event
            if isinstance(event, Revoked):
                self.source.release(event.assignments)
        raise AssertionError(f"no {kind.__name__}: {self.seen[-5:]}")

    async def until_seen(self, kind: type[T]) -> T:
        """The next event of this kind; what comes before it is handled, and nothing is released."""
        for _ in range(10_000):
            if isinstance(event := await self.next(), kind):
                return event
        raise AssertionError(f"no {kind.__name__}: {self.seen[-5:]}")

    async def records(self, count: int) -> dict[Assignment, list[int]]:
        """The offsets of the next records, this many."""
        offsets: dict[Assignment, list[int]] = {}
        while sum(map(len, offsets.values())) < count:
            event = await self.until(Received)
            offsets.setdefault(event.assignment, []).extend(
                record.offset for record in event.records
            )
        return offsets


@asynccontextmanager
async def reading(reader: SourceReader) -> AsyncIterator[SourceReader]:
    tasks = [
        asyncio.create_task(work())
        for work in (reader.run, reader.source.watch_topics, reader.source.watch_ends)
    ]
    try:
        yield reader
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await reader.source.close()


@asynccontextmanager
async def running(writer: TopicWriter[Rejection] | TopicWriter[Row]) -> AsyncIterator[None]:
    """A writer that runs, and is closed at the end."""
    task = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.close()

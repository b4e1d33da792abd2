"""The evidence for the checker: the topics and the API's ledger, read from outside.

It imports nothing of the worker (`test_independence.py` checks that): the worker's own books are no
evidence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from sys import intern
from typing import Any, TypeVar

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

PAGE_ROWS = 20_000
READ_SECONDS_MAX = 600.0
GROUP = "chaos"
ERRORS = "__appmetrica.errors."

T = TypeVar("T")

# During a wait for the lag, this many records are published at this interval in seconds.
LATE_RECORDS, LATE_SECONDS = 10, 5.0


@dataclass(frozen=True, slots=True)
class Produced:
    """A record of the source topic. `kind`: valid, repeat, skipped, or the reason why it is bad."""

    partition: int
    offset: int
    number: int
    kind: str
    phase: str


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A dead letter, and the place of the original record that it names."""

    partition: int
    offset: int
    reason: str
    unix_seconds: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row that the API has accepted.

    `sender`: the process that sent it, by the id of its request.
    """

    number: int
    unix_seconds: float
    sender: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A request whose rows the API kept without giving an answer."""

    rows: int
    unix_seconds: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """The API's account. `is_complete` is False if it has forgotten some rows."""

    arrivals: list[Arrival]
    dropped: list[Dropped]
    is_complete: bool


async def read_produced(servers: str, topic: str) -> list[Produced]:
    """Read every record of the source topic."""

    def of(record: Any) -> Produced:
        headers = dict(record.headers)
        return Produced(
            record.partition,
            record.offset,
            int(record.key),
            headers["kind"].decode(),
            headers["phase"].decode(),
        )

    return await _read(servers, topic, of)


async def read_dead_lettered(servers: str, topic: str) -> list[DeadLettered]:
    """Read every dead letter."""

    def of(record: Any) -> DeadLettered:
        headers = dict(record.headers)
        return DeadLettered(
            partition=int(headers[ERRORS + "partition"]),
            offset=int(headers[ERRORS + "offset"]),
            reason=headers[ERRORS + "reason"].decode(),
            unix_seconds=record.timestamp / 1000,
        )

    return await _read(servers, topic, of)


async def _read(servers: str, topic: str, of: Callable[[Any], T]) -> list[T]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        async with asyncio.timeout(READ_SECONDS_MAX):
            partitions = await _partitions(servers, topic)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[T] = []
            for partition in partitions:
                while await consumer.position(partition) < ends[partition]:
                    chunk = await consumer.getmany(partition, timeout_ms=1000)
                    found.extend(of(record) for record in chunk.get(partition, ()))
            return found
    finally:
        await consumer.stop()


async def lag(servers: str, topic: str) -> int:
    """Offsets between what the group has committed and the end of the topic.

    Raises:
        aiokafka.errors.KafkaError: no broker can answer now.
    """
    partitions = await _partitions(servers, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    try:
        await admin.start()
        await consumer.start()
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(GROUP, partitions=partitions)
        return sum(
            ends[one] - max(0, committed[one].offset) if one in committed else ends[one]
            for one in partitions
        )
    finally:
        await admin.close()
        await consumer.stop()


async def await_no_lag(
    servers: str,
    topics: tuple[str, ...],
    timeout_seconds: float,
    publish: Callable[[int], Awaitable[None]],
) -> float | None:
    """Wait until the group has committed everything; returns the seconds, or None on a time-out.

    A few records are published now and then: where only refused rows are left, a worker can't
    distinguish them from an API that refuses everything.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    due = started + LATE_SECONDS
    while loop.time() - started < timeout_seconds:
        if loop.time() >= due:
            due += LATE_SECONDS
            await publish(LATE_RECORDS)
        try:
            if not sum([await lag(servers, topic) for topic in topics]):
                return loop.time() - started
        except (KafkaError, OSError):
            # A broker that is just coming back: asked again below.
            pass
        await asyncio.sleep(0.25)
    return None


async def _partitions(servers: str, topic: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        (described,) = await admin.describe_topics([topic])
        return sorted(TopicPartition(topic, one["partition"]) for one in described["partitions"])
    finally:
        await admin.close()


async def read_ledger(url: str) -> Ledger:
    """Read the emulator's ledger, page by page."""
    timeout = aiohttp.ClientTimeout(total=READ_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(f"{url}/_emulator/ledger") as response:
            is_complete = bool((await response.json())["is_complete"])
        times: dict[int, float] = {}
        dropped = []
        async for request in _pages(session, f"{url}/_emulator/requests"):
            times[request["number"]] = request["unix_seconds"]
            if request["answer"] == "kept, then dropped":
                dropped.append(Dropped(request["rows_kept"], request["unix_seconds"]))
        arrivals = [
            Arrival(
                json.loads(row["values"]["event_json"])["number"],
                times[row["request_number"]],
                intern(row["request_id"].partition("-")[0]),
            )
            async for row in _pages(session, f"{url}/_emulator/rows")
        ]
    return Ledger(arrivals, dropped, is_complete)


async def _pages(session: aiohttp.ClientSession, url: str) -> AsyncIterator[dict[str, Any]]:
    after = 0
    while True:
        async with session.get(url, params={"after": after, "limit": PAGE_ROWS}) as response:
            page: list[dict[str, Any]] = json.loads(await response.read())
        for entry in page:
            yield entry
        after += len(page)
        if len(page) < PAGE_ROWS:
            return

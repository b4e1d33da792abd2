"""Numbered events at a rate, and their account: what the API has accepted, and how often."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from verification.cluster.world import API_URL, APPLICATION, SERVERS, until
from worker.sandbox.topics import committed_lag

TICK_SECONDS = 0.02
PAGE_ROWS = 20_000
EVENTS_PER_SECOND = 1000


@dataclass(frozen=True, slots=True)
class Account:
    """Events by what became of them. `duplicates` are rows that were accepted again."""

    produced: int
    lost: int
    duplicates: int


class Load:
    """The events of a scenario, and no others."""

    def __init__(self, topic: str, rows_before: int) -> None:
        self._topic = topic
        self._rows_before = rows_before
        self._name = secrets.token_hex(4)
        self.produced = 0

    async def publish(self, producer: AIOKafkaProducer, stop: asyncio.Event) -> None:
        """Publish events until the stop, and wait for the acknowledgements."""
        started = time.monotonic()
        acknowledgements = []
        while not stop.is_set():
            due = int((time.monotonic() - started) * EVENTS_PER_SECOND)
            for number in range(self.produced, due):
                record = await producer.send(self._topic, self._event(number), b"%d" % number)
                acknowledgements.append(record)
            self.produced = due
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.gather(*acknowledgements)

    def _event(self, number: int) -> bytes:
        event = {
            "application_id": APPLICATION,
            "profile_id": f"user-{number % 5000}",
            "event_name": "film_watched",
            "event_timestamp": int(time.time()),
            "event_json": {"load": self._name, "number": number},
        }
        return json.dumps(event).encode()

    async def reach(self, count: int) -> None:
        """Wait until the API has accepted this many rows since the start."""
        await until(f"{count} rows are accepted", lambda: self._has_reached(count))

    async def _has_reached(self, count: int) -> bool:
        return await rows_total() - self._rows_before >= count

    async def account(self) -> Account:
        """Wait until the group has committed everything, and compare."""
        await until("the lag is 0", self._is_committed)
        arrived = Counter(await self._arrived())
        return Account(
            self.produced,
            lost=sum(number not in arrived for number in range(self.produced)),
            duplicates=arrived.total() - len(arrived),
        )

    async def _is_committed(self) -> bool:
        # A release's group has the name of its topic.
        return await committed_lag(SERVERS, self._topic, self._topic) == 0

    async def _arrived(self) -> list[int]:
        numbers = []
        for row in await _rows(self._rows_before):
            details = json.loads(row["values"]["event_json"])
            if details.get("load") == self._name:
                numbers.append(int(details["number"]))
        return numbers


@asynccontextmanager
async def load(topic: str) -> AsyncIterator[Load]:
    """Publish as long as the block runs."""
    events = Load(topic, await rows_total())
    stop = asyncio.Event()
    async with AIOKafkaProducer(
        bootstrap_servers=SERVERS, acks="all", enable_idempotence=True, linger_ms=10
    ) as producer:
        task = asyncio.create_task(events.publish(producer, stop), name="load")
        try:
            yield events
        finally:
            stop.set()
            await task


async def rows_total() -> int:
    """How many rows the API has accepted."""
    async with aiohttp.ClientSession() as session, session.get(_url("ledger")) as response:
        return int((await response.json())["rows_total"])


async def _rows(after: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as session:
        while True:
            page = {"after": after + len(rows), "limit": PAGE_ROWS}
            async with session.get(_url("rows"), params=page) as response:
                found = json.loads(await response.read())
            rows += found
            if len(found) < PAGE_ROWS:
                return rows


def _url(path: str) -> str:
    return f"{API_URL}/_emulator/{path}"

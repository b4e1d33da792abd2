"""A producer with a pace: numbered records, with repeated, bad and skipped records among them.

The kind of a record is in its headers, which the worker ignores, so that the checker needs nothing
but the topics.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections import deque
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

REFUSED_NAME = "refused_by_the_api"
VALID, REPEAT, SKIPPED = b"valid", b"repeat", b"skipped"
TICK_SECONDS = 0.02
REPEAT_EVERY = 50
BAD_EVERY = 200
REFUSED_EVERY = 4001
SKIPPED_EVERY = 110
# The workers don't select the records of this application.
OTHER_APPLICATION = 3333
RECENT_MAX = 500
APPLICATIONS = (1111, 1111, 1111, 2222)

Planted = tuple[bytes, bytes | None, bytes]


class Mill:
    """Creates records: key, value, kind. The kind of a bad record is its dead letter's reason."""

    def __init__(self, seed: int, noise_characters: int) -> None:
        self._chance = random.Random(seed)
        self._noise = secrets.token_urlsafe(100_000)
        self._noise_characters = noise_characters
        self._recent: deque[Planted] = deque(maxlen=RECENT_MAX)
        self._number = 0

    def next(self) -> Planted:
        """Return the next record."""
        self._number += 1
        number = self._number
        if number % REPEAT_EVERY == 0 and self._recent:
            key, value, _ = self._chance.choice(self._recent)
            return key, value, REPEAT
        event = self._event(number)
        key = b"%d" % number
        if number % SKIPPED_EVERY == 0:
            is_tombstone = number % (2 * SKIPPED_EVERY) == 0
            other = json.dumps(event | {"application_id": OTHER_APPLICATION}).encode()
            return key, None if is_tombstone else other, SKIPPED
        if number % REFUSED_EVERY == 0:
            return key, json.dumps(event | {"event_name": REFUSED_NAME}).encode(), b"refused"
        if number % BAD_EVERY == 0 or number % BAD_EVERY == 77:
            reason, value = self._spoil(event)
            return key, value, reason
        record = (key, json.dumps(event).encode(), VALID)
        self._recent.append(record)
        return record

    def _event(self, number: int) -> dict[str, Any]:
        start = self._chance.randrange(50_000)
        return {
            "application_id": self._chance.choice(APPLICATIONS),
            "profile_id": f"user-{number % 5000}",
            "event_name": "film_watched",
            "event_timestamp": int(time.time()) - 60,
            "event_json": {
                "number": number,
                "noise": self._noise[start : start + self._noise_characters],
            },
        }

    def _spoil(self, event: dict[str, Any]) -> tuple[bytes, bytes]:
        reason = self._chance.choice(
            ("missing", "not_json", "too_old", "both_identities", "unknown_field")
        )
        match reason:
            case "missing":
                del event["event_name"]
            case "too_old":
                event["event_timestamp"] -= 30 * 86_400
            case "both_identities":
                event["appmetrica_device_id"] = 5
            case "unknown_field":
                event["evnt_name"] = "typo"
            case _:
                pass
        text = json.dumps(event).encode()
        return reason.encode(), text[:-9] if reason == "not_json" else text


class Producer:
    """Publishes at a pace, from `start` to `stop`; `is_on` lets it rest in between."""

    def __init__(self, servers: str, topic: str, mill: Mill, records_per_second: float) -> None:
        self._servers = servers
        self._topic = topic
        self._mill = mill
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._unacknowledged: set[asyncio.Future[Any]] = set()
        self.records_per_second = records_per_second
        self.phase = b""
        self.is_on = asyncio.Event()
        self.sent = 0
        self.failed = 0

    async def run(self) -> None:
        """Publish until cancelled."""
        due = 0.0
        while True:
            await self.is_on.wait()
            due = min(due + self.records_per_second * TICK_SECONDS, self.records_per_second)
            while due >= 1:
                await self.publish()
                due -= 1
            await asyncio.sleep(TICK_SECONDS)

    async def publish(self, count: int = 1) -> None:
        """Publish this many records, now.

        Records that can't be written are counted: only records in the topic were produced.
        """
        for _ in range(count):
            key, value, kind = self._mill.next()
            headers = [("kind", kind), ("phase", self.phase)]
            try:
                producer = await self._connected()
                acknowledgement = await producer.send(
                    self._topic, value=value, key=key, headers=headers
                )
            except (KafkaError, OSError):
                self.failed += 1
                await self._give_up()
                continue
            self.sent += 1
            self._unacknowledged.add(acknowledgement)
            acknowledgement.add_done_callback(self._acknowledged)

    async def rest(self) -> None:
        """Stop publishing, and wait until everything is acknowledged."""
        self.is_on.clear()
        while self._unacknowledged:
            await asyncio.wait(self._unacknowledged)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Close the client."""
        await self._give_up()

    def _acknowledged(self, acknowledgement: asyncio.Future[Any]) -> None:
        self._unacknowledged.discard(acknowledgement)
        if acknowledgement.cancelled() or acknowledgement.exception() is not None:
            self.failed += 1

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._servers,
                    acks="all",
                    enable_idempotence=True,
                    compression_type="lz4",
                    linger_ms=10,
                )
                await producer.start()
                self._producer = producer
            return self._producer

    async def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

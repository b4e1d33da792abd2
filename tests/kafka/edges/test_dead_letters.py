"""Dead letters on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from tests.builders import FakeRecord, make_assignment
from tests.source_reader import EVENT_SECONDS_MAX, connection
from worker.core.model.event import DeadLettersAcknowledged, DeadLettersFailed, Event
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.wire.record_headers import ERRORS_PREFIX
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.stored_records import dead_letter_writer
from worker.sandbox.topics import create_topics, read_all


@pytest.fixture
async def topic(bootstrap_servers: str, new_topic: Callable[[str], str]) -> str:
    name = new_topic("dead-letters")
    await create_topics(bootstrap_servers, {name: 2})
    return name


def rejection_at(offset: int = 3) -> Rejection:
    record = FakeRecord(
        offset, b"bad value", key=b"the key", headers=(("own", b"header"),), timestamp=1234
    )
    faults = (
        FieldFault(Reason.MISSING, "event_name", "required"),
        FieldFault(Reason.WRONG_TYPE, "mcc", "no"),
    )
    return Rejection(make_assignment(1, topic="source"), record, faults, 100)


async def test_the_original_arrives_untouched_with_every_reason_in_its_headers(
    bootstrap_servers: str, topic: str
) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    writer = dead_letter_writer(
        connection(bootstrap_servers), {"source": topic}, "9.9", events.put_nowait
    )
    task = asyncio.create_task(writer.run())
    rejection = rejection_at()
    writer.write((rejection,))
    async with asyncio.timeout(EVENT_SECONDS_MAX):
        assert await events.get() == DeadLettersAcknowledged((rejection,))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await writer.close()
    (record,) = await read_all(bootstrap_servers, topic)
    assert (record.key, record.value) == (b"the key", b"bad value")
    found = dict(record.headers)
    assert orjson.loads(found.pop(f"{ERRORS_PREFIX}detail")) == [
        {"reason": "missing", "field": "event_name", "message": "required"},
        {"reason": "wrong_type", "field": "mcc", "message": "no"},
    ]
    assert found == {
        "own": b"header",
        f"{ERRORS_PREFIX}reason": b"missing",
        f"{ERRORS_PREFIX}topic": b"source",
        f"{ERRORS_PREFIX}partition": b"1",
        f"{ERRORS_PREFIX}offset": b"3",
        f"{ERRORS_PREFIX}timestamp": b"1234",
        f"{ERRORS_PREFIX}http_status": b"",
        f"{ERRORS_PREFIX}worker_version": b"9.9",
        f"{ERRORS_PREFIX}replays": b"0",
    }


async def test_a_topic_that_is_missing_is_reported_and_the_letter_written_once_it_is_there(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    name = new_topic("late-dlq")
    events: asyncio.Queue[Event] = asyncio.Queue()
    quick = KafkaConnection(tuple(bootstrap_servers.split(",")), "test", 2.0, KafkaSecurity())
    writer = dead_letter_writer(quick, {"source": name}, "9.9", events.put_nowait)
    task = asyncio.create_task(writer.run())
    rejection = rejection_at()
    writer.write((rejection,))
    async with asyncio.timeout(EVENT_SECONDS_MAX):
        failed = await events.get()
    assert isinstance(failed, DeadLettersFailed)
    assert failed.count == 1
    await create_topics(bootstrap_servers, {name: 1})
    async with asyncio.timeout(60.0):
        while not isinstance(event := await events.get(), DeadLettersAcknowledged):
            pass
    assert event.rejections == (rejection,)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await writer.close()
    assert len(await read_all(bootstrap_servers, name)) == 1

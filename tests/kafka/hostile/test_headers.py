"""Headers as anybody may write them, under our names too: null, nonsensical, and very large."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.builders import TOPIC, FakeRecord, make_assignment, make_record, make_rules, now_at
from tests.hostile_values import HOSTILE_HEADERS, Headers
from tests.source_reader import EVENT_SECONDS_MAX, SourceReader, connection, reading
from worker.core.intake.intake import Intake
from worker.core.model.event import DeadLettersAcknowledged, Event, Received, TailRead
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import Place, Position
from worker.core.wire.record_headers import ERRORS_PREFIX, REPLAYS, came_from
from worker.edges.kafka.stored_records import dead_letter_writer
from worker.sandbox.topics import create_topics, publish, read_all


def rejection(headers: Headers, value: bytes = b"bad") -> Rejection:
    record = FakeRecord(7, value, key=b"key", headers=headers)
    return Rejection(
        make_assignment(0, topic="source"), record, (FieldFault(Reason.NOT_JSON, "", "no"),), 100
    )


@pytest.mark.parametrize("headers", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS)
def test_no_header_keeps_a_record_from_being_read_and_placed(headers: Headers) -> None:
    record = make_record(7, headers=headers)
    (row,), _ = Intake(make_rules(key_header="own")).read(make_assignment(), [record], now_at())
    assert row.is_replay == any(name == REPLAYS for name, _ in headers)
    assert came_from(record, make_assignment().topic_partition) == Place(TOPIC, 0, 7)


@pytest.mark.parametrize("size", [3, 50_000], ids=["whole", "shortened"])
async def test_no_header_keeps_a_dead_letter_from_being_written(
    bootstrap_servers: str, new_topic: Callable[[str], str], size: int
) -> None:
    topic = new_topic("hostile-dlq")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    # Room for a record with its headers, but not for 50 KB that don't compress.
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "40000"})])
    await admin.close()
    rejections = tuple(rejection(headers, os.urandom(size)) for headers in HOSTILE_HEADERS.values())
    events: asyncio.Queue[Event] = asyncio.Queue()
    writer = dead_letter_writer(
        connection(bootstrap_servers), {"source": topic}, "1", events.put_nowait
    )
    task = asyncio.create_task(writer.run())
    try:
        writer.write(rejections)
        acknowledged = 0
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            while acknowledged < len(rejections):
                assert not task.done()
                event = await events.get()
                assert isinstance(event, DeadLettersAcknowledged)
                acknowledged += len(event.rejections)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.close()
    records = await read_all(bootstrap_servers, topic)
    assert len(records) == len(rejections)
    assert {dict(record.headers)[f"{ERRORS_PREFIX}reason"] for record in records} == {b"not_json"}


async def test_foreign_records_in_the_dead_letter_topic_neither_stop_a_start_nor_hide_others(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic, dead_letters = new_topic("hostile-tail"), new_topic("hostile-letters")
    await create_topics(bootstrap_servers, {topic: 1, dead_letters: 1})
    await publish(bootstrap_servers, topic, [(b"k", b"v")] * 5)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await producer.start()
    named = {"topic": topic, "partition": "0", "offset": "3"}
    sound = [(f"{ERRORS_PREFIX}{name}", text.encode()) for name, text in named.items()]
    for headers in (*HOSTILE_HEADERS.values(), sound, *HOSTILE_HEADERS.values()):
        await producer.send_and_wait(dead_letters, b"x", headers=list(headers))
    await producer.stop()
    naming = {topic: frozenset({dead_letters})}
    async with reading(SourceReader(bootstrap_servers, topic, naming=naming)) as reader:
        await reader.records(5)
        (assignment,) = {event.assignment for event in reader.seen if isinstance(event, Received)}
        await reader.source.commit({assignment: Position(5)})
    async with reading(SourceReader(bootstrap_servers, topic, naming=naming)) as reader:
        tail = await reader.until(TailRead)
    assert len(tail.records) == 5
    assert (tail.refused, tail.parked) == ({Place(topic, 0, 3)}, set())

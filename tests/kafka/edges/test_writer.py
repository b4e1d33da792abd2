"""Writing to topics of ours on real Kafka: dead letters that are too large, and parked records."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.builders import (
    FakeRecord,
    make_assignment,
    make_destination,
    make_rejection,
    make_row,
)
from tests.source_reader import EVENT_SECONDS_MAX, connection, running
from worker.core.model.event import DeadLettersAcknowledged, Event, ParkingAcknowledged
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.row import Row
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX
from worker.edges.kafka.stored_records import (
    SHORTENED_VALUE_BYTES,
    dead_letter_writer,
    parking_writer,
)
from worker.sandbox.topics import create_topics, read_all

Events = asyncio.Queue[Event]


rejection = partial(make_rejection, topic="source")


async def test_a_dead_letter_too_large_for_its_topic_is_shortened_and_its_neighbours_are_whole(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("small-dlq")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "20000"})])
    await admin.close()
    # Random bytes: compression would make it small.
    large = os.urandom(50_000)
    rejections = (
        rejection(0, b"small"),
        rejection(1, large),
        rejection(2, b"also small"),
    )
    events: Events = asyncio.Queue()
    writer = dead_letter_writer(
        connection(bootstrap_servers), {"source": topic}, "1", events.put_nowait
    )
    async with running(writer):
        writer.write(rejections)
        acknowledged: list[Rejection] = []
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            while len(acknowledged) < len(rejections):
                event = await events.get()
                if isinstance(event, DeadLettersAcknowledged):
                    acknowledged += event.rejections
    assert sorted(one.record.offset for one in acknowledged) == [0, 1, 2]
    records = {
        dict(record.headers)[f"{ERRORS_PREFIX}offset"]: record
        for record in await read_all(bootstrap_servers, topic)
    }
    assert [records[b"0"].value, records[b"2"].value] == [b"small", b"also small"]
    headers = dict(records[b"1"].headers)
    assert records[b"1"].value == large[:SHORTENED_VALUE_BYTES]
    assert orjson.loads(headers[f"{ERRORS_PREFIX}shortened"])["bytes"] == len(large)
    assert (headers[f"{ERRORS_PREFIX}reason"], headers[f"{ERRORS_PREFIX}topic"]) == (
        b"not_json",
        b"source",
    )
    assert f"{ERRORS_PREFIX}shortened" not in dict(records[b"0"].headers)


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ({"max.message.bytes": "20000"}, 50_000),
        ({"max.message.bytes": "9000000", "segment.bytes": "1048576"}, 1_500_000),
    ],
    ids=["larger than a batch may be", "larger than a segment"],
)
async def test_many_dead_letters_too_large_for_their_topic_are_written_without_a_failure_between(
    bootstrap_servers: str, new_topic: Callable[[str], str], limit: dict[str, str], size: int
) -> None:
    topic = new_topic("many-large")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=limit)])
    await admin.close()
    rejections = tuple(
        rejection(number, os.urandom(size) if number % 2 else b"small") for number in range(20)
    )
    events: Events = asyncio.Queue()
    writer = dead_letter_writer(
        connection(bootstrap_servers), {"source": topic}, "1", events.put_nowait
    )
    async with running(writer):
        for _ in range(2):
            writer.write(rejections)
            # After a refusal the producer's sequence has a gap: one that goes on with it is refused
            # everything else, and one attempt after the other, each later than the one before,
            # writes one of these.
            async with asyncio.timeout(EVENT_SECONDS_MAX):
                event = await events.get()
            assert event == DeadLettersAcknowledged(rejections)
    records = await read_all(bootstrap_servers, topic)
    assert len(records) == 2 * len(rejections)
    assert {len(record.value or b"") for record in records} == {
        len(b"small"),
        SHORTENED_VALUE_BYTES,
    }


async def test_a_record_without_key_and_value_has_its_dead_letter(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("nothing")
    await create_topics(bootstrap_servers, {topic: 1})
    record = FakeRecord(5, None, key=None, headers=(("own", b"header"),))
    nothing = Rejection(
        make_assignment(0, topic="source"), record, (FieldFault(Reason.EMPTY_VALUE, "", "no"),), 100
    )
    events: Events = asyncio.Queue()
    writer = dead_letter_writer(
        connection(bootstrap_servers), {"source": topic}, "1", events.put_nowait
    )
    async with running(writer):
        writer.write(
            (
                rejection(1, b"before"),
                nothing,
                rejection(2, b"behind"),
            )
        )
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            event = await events.get()
        assert isinstance(event, DeadLettersAcknowledged)
        assert nothing in event.rejections
    (found,) = [one for one in await read_all(bootstrap_servers, topic) if not one.value]
    assert (found.key, found.value, dict(found.headers)["own"]) == (None, b"", b"header")


async def test_parked_records_keep_what_they_are_and_lie_together_by_application(
    bootstrap_servers: str, new_topic: Callable[[str], str]
) -> None:
    topic = new_topic("parking")
    await create_topics(bootstrap_servers, {topic: 4})
    rows = tuple(
        make_row(
            offset,
            assignment=make_assignment(3, topic="source"),
            destination=make_destination(1000 + 4 * (offset % 4)),
            record=FakeRecord(
                offset,
                b"value-%d" % offset,
                key=b"key-%d" % offset,
                headers=(("own", b"header"),),
                timestamp=77,
            ),
        )
        for offset in range(20)
    )
    events: Events = asyncio.Queue()
    writer = parking_writer(
        connection(bootstrap_servers),
        {"source": topic},
        [1012, 1000, 1008, 1004],
        events.put_nowait,
    )
    async with running(writer):
        writer.write(rows)
        acknowledged: list[Row] = []
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            while len(acknowledged) < len(rows):
                event = await events.get()
                if isinstance(event, ParkingAcknowledged):
                    acknowledged += event.rows
    assert {row.record.offset for row in acknowledged} == set(range(20))
    records = await read_all(bootstrap_servers, topic)
    assert len(records) == 20
    for record in records:
        headers = dict(record.headers)
        offset = int(headers[f"{PARKED_PREFIX}offset"])
        assert (record.key, record.value, headers["own"]) == (
            b"key-%d" % offset,
            b"value-%d" % offset,
            b"header",
        )
        assert (headers[f"{PARKED_PREFIX}topic"], headers[f"{PARKED_PREFIX}partition"]) == (
            b"source",
            b"3",
        )
        assert headers[f"{PARKED_PREFIX}timestamp"] == b"77"
        # Ids that are the same modulo 4 have each a partition of their own all the same.
        assert record.partition == offset % 4

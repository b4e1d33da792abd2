"""The memory of held records, beside the bytes that the gauge counts for them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as ClientPartition

from tests.builders import TOPIC, UNIX_SECONDS, make_value
from tests.unit.core.pipeline_world import FIRST, World
from worker.core.model.command import Command
from worker.core.model.event import Received
from worker.core.post_api.resource import EVENTS, RESOURCES

CHUNK = 1000
RECORDS = 5 * CHUNK
# What tracemalloc sees is requested from the allocator, which rounds each object up to 16 bytes.
SHARE_MIN, SHARE_MAX = 0.7, 1.0


def event(number: int) -> bytes:
    return make_value(
        application_id=1, profile_id=f"user-{number}", event_timestamp=UNIX_SECONDS - 60
    )


def large_event(number: int) -> bytes:
    return make_value(
        application_id=1,
        profile_id=f"user-{number}",
        event_timestamp=UNIX_SECONDS - 60,
        event_json={"note": "x" * 400},
    )


def event_of_two_records(number: int) -> bytes:
    return event(number // 2)


def profile(number: int) -> bytes:
    return json.dumps(
        {"application_id": 1, "profile_id": f"user-{number}", "attributes": {"offset": number}}
    ).encode()


def event_with_a_fault(number: int) -> bytes:
    return b"not json %d" % number


def event_with_five_faults(number: int) -> bytes:
    return make_value(
        application_id=1, event_name=5.5, event_timestamp=f"x{number}", profile_id=..., os_name=[]
    )


def fetched(first: int, value: Callable[[int], bytes]) -> list[ConsumerRecord]:  # type: ignore[type-arg]
    """A chunk as the client gives it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2**30)
    for index in range(CHUNK):
        number = first + index
        milliseconds = UNIX_SECONDS * 1000 + number
        builder.append(index, milliseconds, b"%d" % number, value(number), [])
    batch = builder.build()
    batch[:8] = first.to_bytes(8, "big")
    memory = MemoryRecords(bytes(batch))
    partition = ClientPartition(TOPIC, 0)
    return list(PartitionRecords(partition, memory, [], first, None, None, False, 0))


@pytest.mark.parametrize(
    "value",
    [
        event,
        large_event,
        event_of_two_records,
        profile,
        event_with_a_fault,
        event_with_five_faults,
    ],
)
def test_held_records_take_what_is_counted_for_them(value: Callable[[int], bytes]) -> None:
    resource = RESOURCES["profiles"] if value is profile else EVENTS
    world = World(resource=resource, rows_max=10 * RECORDS, memory_bytes_max=2**40)
    world.assign(FIRST)
    gauge = world.ledger.memory
    commands: list[Command] = []
    # The memory of caches and of the first chunk's tables isn't that of records.
    world.handle(Received(FIRST, fetched(0, value), CHUNK))
    counted = gauge.held_bytes
    tracemalloc.start()
    try:
        for first in range(CHUNK, CHUNK + RECORDS, CHUNK):
            commands += world.pipeline.handle(
                Received(FIRST, fetched(first, value), first + CHUNK), world.now
            )
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    share = taken / (gauge.held_bytes - counted)
    assert SHARE_MIN <= share <= SHARE_MAX, f"{taken / RECORDS:.0f} B a record: {share:.2f}"

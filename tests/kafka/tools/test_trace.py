"""Traces of records on real Kafka: from the topic, the group, dead letters and parked records."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata
from aiokafka import TopicPartition as ClientPartition

from tests.builders import FakeRecord, make_assignment, make_value
from tests.source_reader import connection
from tests.unit.tools.stored import settings
from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import Place
from worker.core.model.row import Destination, Row
from worker.core.post_api.resource import Identity
from worker.core.wire.commit_metadata import encode
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.stored_records import dead_letter_headers, parking_headers
from worker.sandbox.topics import create_topics, started
from worker.tools.trace import CommitState, Presence, Trace, origin_of, trace
from worker.tools.validation import DryRun

NOW = time.time()
GOOD = make_value(event_timestamp=int(NOW))
BAD = make_value(event_timestamp=int(NOW), event_name=...)


class Scene:
    """A topic with the records 0 to 5, and what belongs to it."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self.settings = settings(
            routes=f"[{{topic: {topic}}}]",
            dead_letter__topic=f"{topic}.dlq",
            kafka__group_id=f"{topic}-group",
        )

    async def write(
        self, topic: str, records: Sequence[tuple[bytes | None, Sequence[tuple[str, bytes | None]]]]
    ) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers)
        async with started(producer):
            for value, headers in records:
                await producer.send_and_wait(topic, value, headers=headers, partition=0)

    async def commit(self, topic: str, offset: int, metadata: str = "") -> None:
        """Commit as the worker does."""
        group_id = self.settings.kafka.group_id
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, group_id=group_id, enable_auto_commit=False
        )
        async with started(consumer):
            partition = ClientPartition(topic, 0)
            consumer.assign([partition])
            await consumer.commit({partition: OffsetAndMetadata(offset, metadata)})

    async def trace(self, offset: int) -> Trace:
        """The trace of a record of the topic."""
        async with TopicReader(connection(self.bootstrap_servers)) as reader:
            return await trace(
                reader,
                self.settings,
                DryRun(self.settings),
                Place(self.topic, 0, offset),
                Now(0.0, NOW),
            )


@pytest.fixture
async def scene(bootstrap_servers: str, new_topic: Callable[[str], str]) -> Scene:
    scene = Scene(bootstrap_servers, new_topic("traced"))
    await create_topics(
        bootstrap_servers, {scene.topic: 1, f"{scene.topic}.dlq": 1, f"{scene.topic}.parked": 1}
    )
    await scene.write(
        scene.topic, [(GOOD, []), (BAD, []), (GOOD, []), (BAD, []), (GOOD, []), (GOOD, [])]
    )
    return scene


async def test_a_record_is_committed_named_outstanding_or_was_never_seen(scene: Scene) -> None:
    assert (await scene.trace(0)).progress is CommitState.NOTHING_COMMITTED
    # The group began at 1, has settled all below 3, and 4 above it.
    await scene.commit(scene.topic, 3, encode(3, 1, [(4, 5)]))
    progress = [(await scene.trace(offset)).progress for offset in range(6)]
    assert progress == [
        CommitState.BEFORE_FLOOR,
        CommitState.COMMITTED,
        CommitState.COMMITTED,
        CommitState.OUTSTANDING,
        CommitState.HINTED,
        CommitState.OUTSTANDING,
    ]
    delivered, outstanding = await scene.trace(2), await scene.trace(5)
    assert delivered.summary == "It was delivered, or dropped as a duplicate of a delivered event."
    assert outstanding.summary == "It is not settled: not read yet, or in progress."
    lost_dead_letter = await scene.trace(1)
    assert (
        isinstance(lost_dead_letter.verdict, Rejection)
        and "No dead letter names it" in lost_dead_letter.summary
    )
    assert (await scene.trace(6)).presence is Presence.NOT_YET


async def test_a_dead_letter_is_found_by_the_origin_that_it_names(scene: Scene) -> None:
    await scene.commit(scene.topic, 6)
    stored = []
    for offset in (3, 1):
        rejection = Rejection(
            make_assignment(0, topic=scene.topic),
            FakeRecord(offset, BAD),
            (FieldFault(Reason.MISSING, "event_name", ""),),
            1,
        )
        stored.append((BAD, dead_letter_headers(rejection, "1")))
    await scene.write(f"{scene.topic}.dlq", stored)
    traced = await scene.trace(1)
    assert [one.place.offset for one in traced.dead_letters] == [1]
    assert traced.summary == f"It was dead-lettered as missing: {scene.topic}.dlq 0 1."
    async with TopicReader(connection(scene.bootstrap_servers)) as reader:
        assert await origin_of(reader, scene.settings, Place(f"{scene.topic}.dlq", 0, 0)) == Place(
            scene.topic, 0, 3
        )
        assert await origin_of(reader, scene.settings, Place(scene.topic, 0, 0)) is None


async def test_a_parked_record_is_redelivered_or_still_parked(scene: Scene) -> None:
    await scene.commit(scene.topic, 6)
    destination = Destination("events", 1111, Identity.PROFILE_ID)
    rows = [
        Row(make_assignment(0, topic=scene.topic), FakeRecord(n, GOOD), destination, b"", b"", 0, 0)
        for n in (2, 4)
    ]
    await scene.write(f"{scene.topic}.parked", [(GOOD, parking_headers(row)) for row in rows])
    await scene.commit(f"{scene.topic}.parked", 1)
    redelivered, waiting = await scene.trace(2), await scene.trace(4)
    assert (
        redelivered.summary
        == f"It was parked ({scene.topic}.parked 0 0) and was redelivered from there and settled."
    )
    assert (
        waiting.summary
        == f"It was parked ({scene.topic}.parked 0 1) and has not been redelivered yet."
    )

"""The source on a real broker: what is received, where it starts, and what is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.builders import make_assignment
from tests.source_reader import SourceReader, reading
from worker.core.model.event import (
    Assigned,
    CommitFailed,
    Committed,
    OffsetsSkipped,
    Received,
    Revoked,
)
from worker.core.model.record import Position
from worker.sandbox.topics import create_topics, publish


@pytest.fixture
async def topic(bootstrap_servers: str, new_topic: Callable[[str], str]) -> str:
    name = new_topic("edge")
    await create_topics(bootstrap_servers, {name: 2})
    return name


def records(count: int) -> list[tuple[bytes, bytes]]:
    return [(b"key", b'{"n": %d}' % number) for number in range(count)]


class TestReceiving:
    async def test_every_record_of_every_partition_is_received_once_and_in_order(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        await publish(bootstrap_servers, topic, [(b"%d" % number, b"v") for number in range(500)])
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            assigned = await reader.until(Assigned)
            assert {(start.position, start.committed) for start in assigned.starts} == {(0, None)}
            offsets = await reader.records(500)
        assert all(taken == list(range(len(taken))) for taken in offsets.values())
        assert sum(map(len, offsets.values())) == 500

    async def test_nothing_is_received_while_paused(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            assigned = await reader.until(Assigned)
            paused = frozenset(start.assignment for start in assigned.starts)
            reader.source.pause(paused)
            await publish(bootstrap_servers, topic, records(10))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await reader.inbox.get(None)
            reader.source.resume(paused)
            await reader.records(10)

    async def test_the_next_poll_waits_until_the_chunk_is_handled(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        await publish(bootstrap_servers, topic, records(1000))
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            await reader.until(Received)
            # Not asked for the next event yet: this one is still being handled, and a pause would
            # come in time.
            await asyncio.sleep(0.3)
            assert len(reader.inbox._events) == 0

    async def test_records_of_an_aborted_transaction_are_not_received_and_the_position_passes_them(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, transactional_id=topic)
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept", partition=0)
        await producer.stop()
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            values, position = [], 0
            while position < 4:
                event = await reader.until(Received)
                values += [record.value for record in event.records]
                position = event.next_offset
        # Offsets: aborted 0, marker 1, kept 2, marker 3.
        assert (values, position) == ([b"kept"], 4)


class TestStartPositions:
    async def test_a_committed_offset_is_where_reading_goes_on(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        await publish(bootstrap_servers, topic, [(b"a", b"v")] * 20)
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            await reader.records(20)
            (assignment,) = {
                event.assignment for event in reader.seen if isinstance(event, Received)
            }
            assert isinstance(await reader.source.commit({assignment: Position(7)}), Committed)
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            assigned = await reader.until(Assigned)
            positions = {
                start.assignment.partition: (start.position, start.committed)
                for start in assigned.starts
            }
        assert positions[assignment.partition] == (7, Position(7))

    async def test_the_very_first_start_may_begin_at_the_end(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        await publish(bootstrap_servers, topic, [(b"a", b"v")] * 20)
        async with reading(SourceReader(bootstrap_servers, topic, starts_at_latest=True)) as reader:
            assigned = await reader.until(Assigned)
        assert sum(start.position for start in assigned.starts) == 20

    async def test_a_later_start_begins_uncommitted_partitions_at_the_earliest(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        await publish(bootstrap_servers, topic, [(b"a", b"v")] * 20)
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            assigned = await reader.until(Assigned)
            committed = next(
                start.assignment for start in assigned.starts if start.assignment.partition == 0
            )
            await reader.source.commit({committed: Position(0)})
        async with reading(SourceReader(bootstrap_servers, topic, starts_at_latest=True)) as reader:
            assigned = await reader.until(Assigned)
        assert {start.position for start in assigned.starts} == {0}

    async def test_an_offset_that_is_gone_is_an_incident_and_reading_goes_on_at_the_earliest(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        await publish(bootstrap_servers, topic, [(b"a", b"v")] * 20)
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            await reader.records(20)
            (assignment,) = {
                event.assignment for event in reader.seen if isinstance(event, Received)
            }
            await reader.source.commit({assignment: Position(5)})
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
        await admin.start()
        partition = ClientPartition(topic, assignment.partition)
        await admin.delete_records({partition: RecordsToDelete(before_offset=12)})
        await admin.close()
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            skipped = await reader.until(OffsetsSkipped)
            behind = await reader.until(Received)
            offsets = await reader.records(8)
        assert skipped.count == 7
        assert (behind.records, behind.next_offset) == ((), 12)
        assert list(offsets.items()) == [(skipped.assignment, list(range(12, 20)))]


class TestCommitting:
    async def test_a_commit_is_there_for_the_group(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            assigned = await reader.until(Assigned)
            positions = {start.assignment: Position(0) for start in assigned.starts}
            assert isinstance(await reader.source.commit(positions), Committed)
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
        await admin.start()
        committed = await admin.list_consumer_group_offsets(topic)
        await admin.close()
        assert {partition.partition: one.offset for partition, one in committed.items()} == {
            0: 0,
            1: 0,
        }

    async def test_nothing_is_committed_for_what_is_not_ours(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        async with reading(SourceReader(bootstrap_servers, topic)) as reader:
            await reader.until(Assigned)
            stranger = make_assignment(0, topic=topic, epoch=999)
            assert isinstance(await reader.source.commit({stranger: Position(5)}), CommitFailed)

    async def test_nothing_is_committed_after_the_release(
        self, bootstrap_servers: str, topic: str
    ) -> None:
        async with reading(SourceReader(bootstrap_servers, topic)) as first:
            assigned = await first.until(Assigned)
            async with reading(SourceReader(bootstrap_servers, topic)) as second:
                revoked = await first.until(Revoked)
                assert isinstance(
                    await first.source.commit({revoked.assignments[0]: Position(0)}), Committed
                )
                first.source.release(revoked.assignments)
                assert isinstance(
                    await first.source.commit({revoked.assignments[0]: Position(0)}), CommitFailed
                )
                again = (await first.until(Assigned)).starts
                others = (await second.until(Assigned)).starts
        assert [len(again), len(others)] == [1, 1]
        assert {start.assignment for start in assigned.starts}.isdisjoint(
            start.assignment for start in again
        )


async def test_the_broker_keeps_a_commits_metadata(bootstrap_servers: str, topic: str) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=topic, enable_auto_commit=False
    )
    await consumer.start()
    partition = ClientPartition(topic, 0)
    consumer.assign([partition])
    await consumer.commit({partition: OffsetAndMetadata(0, "ranges")})
    await consumer.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    committed = await admin.list_consumer_group_offsets(topic)
    await admin.close()
    assert committed[partition].metadata == "ranges"

"""Partitions that arrive, and logs that lose their end, on model brokers and virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.structs import TopicPartition

from tests.source_reader import SourceReader
from tests.unit.edges.kafka.model_brokers import (
    TOPIC,
    append,
    commit,
    play,
    reading_on,
    running,
    seen,
)
from verification.simulation.kafka_model import ModelKafka
from worker.core.model.event import (
    Assigned,
    LogTruncated,
    Lost,
    OffsetsSkipped,
    Received,
    TailRead,
)
from worker.core.model.record import Position

PARTITION = TopicPartition(TOPIC, 0)


async def offsets(reader: SourceReader, count: int) -> list[int]:
    """The offsets of the next records."""
    return [offset for taken in (await reader.records(count)).values() for offset in taken]


async def cut_off_before_its_position(kafka: ModelKafka, reader: SourceReader) -> None:
    """A log of 20 records loses 5 of them, and reading continues at the cut."""
    kafka.elect_uncleanly(PARTITION, 15)
    append(kafka, 3)
    assert await offsets(reader, 3) == [15, 16, 17]
    (truncated,) = seen(reader, LogTruncated)
    assert (truncated.position, truncated.resumed_at, truncated.is_exact) == (20, 15, True)


async def committed_here(reader: SourceReader, position: int) -> None:
    """The group has this position of the partition, committed in the present epoch."""
    (assigned,) = seen(reader, Assigned)
    await reader.source.commit({assigned.starts[0].assignment: Position(position)})


@asynccontextmanager
async def settled_on(kafka: ModelKafka, count: int) -> AsyncIterator[SourceReader]:
    """A source that has received this many records, all of which are settled and committed."""
    async with reading_on(kafka, count) as reader:
        await committed_here(reader, count)
        yield reader


@asynccontextmanager
async def committed_to(kafka: ModelKafka, count: int) -> AsyncIterator[SourceReader]:
    """A source at the end of a log of `count` records that were all settled by an earlier life."""
    append(kafka, count)
    commit(kafka, 0, count)
    async with running(kafka) as reader:
        await reader.until(Assigned)
        yield reader


def test_reading_goes_on_where_the_log_was_cut_off_though_it_ends_before_the_position() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with settled_on(kafka, 20) as reader:
            await cut_off_before_its_position(kafka, reader)

    play(history, partitions=1)


def test_what_is_written_over_the_lost_range_and_beyond_is_not_passed_over() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with settled_on(kafka, 20) as reader:
            kafka.elect_uncleanly(PARTITION, 15)
            append(kafka, 10)
            assert await offsets(reader, 10) == list(range(15, 25))
            append(kafka, 5)
            assert await offsets(reader, 5) == list(range(25, 30))
            assert len(seen(reader, LogTruncated)) == 1

    play(history, partitions=1)


@pytest.mark.parametrize(("committed", "start"), [(None, 0), (5, 5), (15, 15), (18, 15)])
def test_records_before_the_cut_that_are_not_settled_are_read_again(
    committed: int | None, start: int
) -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 20) as reader:
            if committed is not None:
                await committed_here(reader, committed)
            kafka.elect_uncleanly(PARTITION, 15)
            append(kafka, 3)
            assert await offsets(reader, 18 - start) == list(range(start, 18))
            (truncated,) = seen(reader, LogTruncated)
            assert (truncated.position, truncated.resumed_at) == (20, 15)

    play(history, partitions=1)


def test_records_that_retention_removes_end_no_epoch() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 10) as reader:
            append(kafka, 10)
            kafka.truncate(TOPIC, 0, 14)
            assert await offsets(reader, 6) == list(range(14, 20))
            (skipped,) = seen(reader, OffsetsSkipped)
            assert skipped.count == 4
            # What is in memory is still to be delivered: nobody can read it again.
            assert not seen(reader, Lost)

    play(history, partitions=1)


def test_a_log_that_retention_empties_leaves_its_end_as_the_position() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 10) as reader:
            append(kafka, 10)
            kafka.truncate(TOPIC, 0, 20)
            await reader.until(OffsetsSkipped)
            behind = await reader.until(Received)
            assert (behind.records, behind.next_offset) == ((), 20)
            append(kafka, 1)
            assert await offsets(reader, 1) == [20]

    play(history, partitions=1)


def test_an_election_that_loses_nothing_costs_one_question_and_no_epoch_of_ours() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 20) as reader:
            for election in range(3):
                kafka.elect(PARTITION)
                kafka.append_control(TOPIC, 0)
                append(kafka, 5)
                await reader.records(5)
                append(kafka, 5)
                await reader.records(5)
                assert kafka.network.requests["EpochEndRequestStruct"] == election + 1
            assert not seen(reader, Lost)

    play(history, partitions=1)


def test_a_position_committed_beyond_the_end_goes_on_at_the_end() -> None:
    async def history(kafka: ModelKafka) -> None:
        append(kafka, 20)
        commit(kafka, 0, 20)
        kafka.elect_uncleanly(PARTITION, 15)
        async with running(kafka) as reader:
            (start,) = (await reader.until(Assigned)).starts
            assert start.position == 15
            truncated = await reader.until(LogTruncated)
            assert (truncated.position, truncated.resumed_at, truncated.is_exact) == (20, 15, False)
            append(kafka, 4)
            assert await offsets(reader, 4) == [15, 16, 17, 18]
            # What is there now was never settled.
            assert not seen(reader, TailRead)

    play(history, partitions=1)


def test_a_log_that_is_cut_off_before_its_first_record_comes_goes_on_at_the_cut() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with committed_to(kafka, 20) as reader:
            await cut_off_before_its_position(kafka, reader)

    play(history, partitions=1)


def test_a_partition_cut_off_before_its_first_record_and_written_again_goes_on_at_the_cut() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with committed_to(kafka, 20) as reader:
            kafka.elect_uncleanly(PARTITION, 15)
            append(kafka, 10)
            assert await offsets(reader, 10) == list(range(15, 25))

    play(history, partitions=1)


def test_a_topic_that_was_made_again_is_no_log_that_was_cut_off() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 20) as reader:
            kafka.recreate_topic(TOPIC)
            append(kafka, 5)
            assert await offsets(reader, 5) == [0, 1, 2, 3, 4]
            assert not seen(reader, LogTruncated)
            assert len(seen(reader, OffsetsSkipped)) == 1

    play(history, partitions=1)


def test_a_log_is_not_believed_while_its_leader_can_not_be_asked() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with settled_on(kafka, 20) as reader:
            kafka.elect_uncleanly(PARTITION, 15)
            append(kafka, 10)
            kafka.faults.lose_leader(PARTITION)
            asyncio.get_running_loop().call_later(20, kafka.faults.find_leader, PARTITION)
            assert await offsets(reader, 10) == list(range(15, 25))

    play(history, partitions=1)


def test_partitions_that_went_and_came_back_while_they_were_looked_up_are_looked_up_again() -> None:
    async def history(kafka: ModelKafka) -> None:
        for _ in range(10):
            kafka.append(TOPIC, 0, b"k", b"{}")
        commit(kafka, 0, 3)
        async with running(kafka) as reader:
            # The tail isn't read on here, as long as nobody asks for the next event.
            tail = await reader.until(TailRead)
            assert tail.start.position == 3
            kafka.coordinator.force_rebalance(TOPIC)
            # Whoever had the partition meanwhile has got on with it.
            commit(kafka, 0, 7)
            await asyncio.sleep(5)
            assigned = await reader.until(Assigned)
            assert [start.position for start in assigned.starts] == [7]

    play(history, partitions=1)


def test_tails_of_many_partitions_are_read_without_waiting_for_records_to_come() -> None:
    async def history(kafka: ModelKafka) -> None:
        for partition in range(40):
            for _ in range(5):
                kafka.append(TOPIC, partition, b"k", b"{}")
            commit(kafka, partition, 5)
        async with running(kafka) as reader:
            tails = [await reader.until(TailRead) for _ in range(40)]
            assert {tail.start.assignment.partition for tail in tails} == set(range(40))
            begun = asyncio.get_running_loop().time()
            await reader.until(Assigned)
            assert begun < 3

    play(history, partitions=40)


def test_partitions_are_looked_up_although_the_connections_have_died_silently() -> None:
    async def history(kafka: ModelKafka) -> None:
        kafka.append(TOPIC, 0, b"k", b"{}")
        async with running(kafka) as reader:
            await reader.until(Assigned)
            # Nothing is fetched from now on, so that nothing shows that this connection is dead.
            kafka.network.silence_connections()
            kafka.coordinator.force_rebalance(TOPIC)
            await reader.until(Assigned)

    play(history, partitions=1)

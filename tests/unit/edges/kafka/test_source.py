"""The source on model brokers and virtual time: consumers that are replaced, pauses, stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from tests.builders import make_assignment
from tests.source_reader import SourceReader
from tests.unit.edges.kafka.model_brokers import TOPIC, append, play, reading_on, running, seen
from verification.simulation.kafka_faults import Answer, Fault
from verification.simulation.kafka_model import ModelKafka
from worker.core.model.event import (
    Assigned,
    CommitFailed,
    Committed,
    Lost,
    OffsetsSkipped,
    Received,
    Revoked,
)
from worker.core.model.record import Assignment, Position
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.receiver import PollOptions
from worker.edges.kafka.source import REBUILDS_MAX, REBUILDS_SECONDS
from worker.errors import UnavailableError

PARTITIONS = 6
STALL_SECONDS = 8.0
POLL = PollOptions(100, skips_corrupt=False, stall_seconds=STALL_SECONDS)
AWAY = (TopicPartition(TOPIC, 1), TopicPartition(TOPIC, 4))
THERE = (0, 2, 3, 5)


async def received(reader: SourceReader, count: int) -> Mapping[int, int]:
    """How many of the next records come from which partition."""
    offsets = await reader.records(count)
    return Counter({one.partition: len(taken) for one, taken in offsets.items()})


async def let_pass(reader: SourceReader, seconds: float) -> None:
    """Take every event of this time."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        reader.seen.append(await reader.inbox.get(until))


def test_partitions_that_are_away_at_the_start_hold_up_no_other_and_begin_when_they_are_back() -> (
    None
):
    async def history(kafka: ModelKafka) -> None:
        append(kafka, 10, PARTITIONS)
        for partition in AWAY:
            kafka.faults.lose_leader(partition)
        async with running(kafka, poll=POLL) as reader:
            assert await received(reader, 40) == dict.fromkeys(THERE, 10)
            assert asyncio.get_running_loop().time() < 5
            assert set(reader.source.partition_errors()) == set(AWAY)
            await let_pass(reader, 10 * STALL_SECONDS)
            for partition in AWAY:
                kafka.faults.find_leader(partition)
            assert await received(reader, 20) == {1: 10, 4: 10}
            assert reader.source.rebuilds == 0
            assert not reader.source.partition_errors()

    play(history, PARTITIONS)


def test_partitions_that_go_away_hold_up_no_other_and_go_on_when_they_are_back() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 10, PARTITIONS, poll=POLL) as reader:
            for partition in AWAY:
                kafka.faults.lose_leader(partition)
            for _ in range(10):
                append(kafka, 1, PARTITIONS)
                assert await received(reader, 4) == dict.fromkeys(THERE, 1)
                await let_pass(reader, STALL_SECONDS)
            assert set(reader.source.partition_errors()) == set(AWAY)
            for partition in AWAY:
                kafka.faults.find_leader(partition)
            assert await received(reader, 20) == {1: 10, 4: 10}
            await let_pass(reader, 1.0)
            assert not reader.source.partition_errors()
            assert reader.source.rebuilds == 0
            assert not seen(reader, Lost)

    play(history, PARTITIONS)


def test_a_consumer_whose_only_partition_is_away_is_not_to_blame() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 1, poll=POLL) as reader:
            kafka.faults.lose_leader(TopicPartition(TOPIC, 0))
            await let_pass(reader, 30 * STALL_SECONDS)
            kafka.faults.find_leader(TopicPartition(TOPIC, 0))
            append(kafka, 1)
            await received(reader, 1)
            assert reader.source.rebuilds == 0

    play(history, partitions=1)


def test_a_consumer_that_fetches_nothing_more_is_replaced() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 1, PARTITIONS, poll=POLL) as reader:
            assert reader.source._consumption is not None
            reader.source._consumption.consumer._fetcher._fetch_task.cancel()
            append(kafka, 1, PARTITIONS)
            await reader.until(Lost)
            assert STALL_SECONDS < asyncio.get_running_loop().time() < 3 * STALL_SECONDS
            # Nothing was committed.
            await received(reader, 12)
            (why,) = reader.diagnosed
            assert f"for {STALL_SECONDS:g} s" in why

    play(history, PARTITIONS)


def test_a_consumer_does_not_ask_for_a_leader_as_often_as_brokers_answer() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 1, poll=POLL) as reader:
            kafka.faults.lose_leader(TopicPartition(TOPIC, 0))
            before = kafka.network.requests["MetadataRequest_v5"]
            await let_pass(reader, 60.0)
            # Twice a second, and what the watchdog asks.
            assert kafka.network.requests["MetadataRequest_v5"] - before < 2.5 * 60

    play(history, partitions=1)


def test_a_consumer_is_not_replaced_while_nobody_can_resolve_an_offset_out_of_range() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 10, PARTITIONS, poll=POLL) as reader:
            append(kafka, 10, PARTITIONS)
            kafka.truncate(TOPIC, 1, 14)
            kafka.faults.disturb(OffsetRequest, Fault(answer=Answer.NEVER))
            assert await received(reader, 56) == {1: 6, **dict.fromkeys((0, 2, 3, 4, 5), 10)}
            (skipped,) = seen(reader, OffsetsSkipped)
            assert skipped.count == 4
            assert reader.source.rebuilds == 0

    play(history, PARTITIONS)


# --- consumers that are unusable ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BreakingConnection(KafkaConnection):
    """Connects with consumers that are cancelled when they are asked for records.

    As by a task of aiokafka that has died. `breaks` has an entry for each time.
    """

    breaks: list[str] = field(default_factory=list)

    def consumer(self, **options: Any) -> AIOKafkaConsumer:
        breaks = self.breaks

        class Consumer(AIOKafkaConsumer):
            async def getmany(self, *partitions: TopicPartition, **options: Any) -> Any:
                if partitions and breaks:
                    breaks.pop()
                    raise asyncio.CancelledError
                return await super().getmany(*partitions, **options)

        return Consumer(**self.arguments(), **options)  # type: ignore[no-untyped-call]


def breaking(kafka: ModelKafka, times: int) -> BreakingConnection:
    security = KafkaSecurity()
    return BreakingConnection((kafka.bootstrap_servers,), "test", 9.0, security, ["broken"] * times)


def test_partitions_of_an_unusable_consumer_are_lost_before_they_are_assigned_again() -> None:
    async def history(kafka: ModelKafka) -> None:
        connection = breaking(kafka, 0)
        async with running(connection) as reader:
            (first,) = (await reader.until(Assigned)).starts
            connection.breaks.append("broken")
            append(kafka, 3)
            assert (await reader.until(Lost)).assignments == (first.assignment,)
            (again,) = (await reader.until(Assigned)).starts
            assert await reader.records(3) == {again.assignment: [0, 1, 2]}
            assert reader.source.rebuilds == 1
            assert again.assignment.epoch > first.assignment.epoch

    play(history, partitions=1)


async def ended(reader: SourceReader, source: asyncio.Task[None]) -> None:
    """Take events until the source has ended, an hour at most."""
    clock = asyncio.get_running_loop().time
    until = clock() + 3600
    while not source.done() and clock() < until:
        await reader.inbox.get(clock() + 1)


def test_a_source_whose_consumers_fail_one_after_the_other_gives_up() -> None:
    async def history(kafka: ModelKafka) -> None:
        append(kafka, 1)
        reader = SourceReader(breaking(kafka, 100), TOPIC)
        source = asyncio.create_task(reader.run())
        await ended(reader, source)
        assert reader.source.rebuilds == REBUILDS_MAX + 1
        with pytest.raises(UnavailableError, match="replaced more than 3 times in 15 minutes"):
            await source
        await reader.source.close()

    play(history, partitions=1)


def test_a_source_whose_consumers_fail_now_and_then_goes_on() -> None:
    async def history(kafka: ModelKafka) -> None:
        connection = breaking(kafka, 0)
        async with running(connection) as reader:
            for number in range(1, REBUILDS_MAX + 3):
                await let_pass(reader, REBUILDS_SECONDS / REBUILDS_MAX + 1)
                connection.breaks.append("broken")
                append(kafka, 1)
                await reader.until(Lost)
                # Nothing was committed: all are received again.
                assert sum((await received(reader, number)).values()) == number

    play(history, partitions=1)


# --- for the runner -------------------------------------------------------------------------------


def test_without_a_consumer_nothing_is_committed_and_nothing_fails() -> None:
    async def history(kafka: ModelKafka) -> None:
        source = SourceReader(kafka.bootstrap_servers, TOPIC).source
        nobody = frozenset({make_assignment(0)})
        source.pause(nobody)
        source.resume(nobody)
        assert isinstance(await source.commit({make_assignment(0): Position(3)}), CommitFailed)
        assert (source.ends(), source.partition_errors()) == ({}, {})
        await source.close()

    play(history, partitions=1)


def test_a_paused_partition_is_received_again_when_it_is_resumed() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 1, 2) as reader:
            paused, other = sorted(reader.source.ends())
            reader.source.pause(frozenset({paused}))
            append(kafka, 5, 2)
            assert await reader.records(5) == {other: [1, 2, 3, 4, 5]}
            await let_pass(reader, 30)
            reader.source.resume(frozenset({paused}))
            assert await reader.records(5) == {paused: [1, 2, 3, 4, 5]}

    play(history, partitions=2)


def test_a_stopped_source_receives_nothing_more_and_still_commits() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with reading_on(kafka, 5) as reader:
            (assignment,) = reader.source.ends()
            reader.source.stop_intake()
            append(kafka, 5)
            before = len(seen(reader, Received))
            await let_pass(reader, 60)
            assert len(seen(reader, Received)) == before
            assert isinstance(await reader.source.commit({assignment: Position(5)}), Committed)
            assert kafka.coordinator.committed(TOPIC, TopicPartition(TOPIC, 0)) == (5, "")

    play(history, partitions=1)


def test_a_topic_that_appears_is_read_and_not_after_a_stop() -> None:
    async def history(kafka: ModelKafka) -> None:
        names = {"topics": (TOPIC, "second", "third"), "look_seconds": 1.0}
        async with running(kafka, **names) as reader:
            await reader.until(Assigned)
            kafka.add_topic("second", 1)
            assert {one.topic for one in await assigned_after(reader)} == {TOPIC, "second"}
            reader.source.stop_intake()
            kafka.add_topic("third", 1)
            before = len(seen(reader, Revoked))
            await let_pass(reader, 60)
            # No rebalance: the membership is for the last commit alone.
            assert len(seen(reader, Revoked)) == before

    play(history, partitions=1)


def test_what_is_settled_is_committed_before_the_rebalance_for_a_topic_that_appears() -> None:
    async def history(kafka: ModelKafka) -> None:
        topics = (TOPIC, "second")
        async with reading_on(kafka, 5, topics=topics, look_seconds=1.0) as reader:
            kafka.add_topic("second", 1)
            (assignment,) = (await reader.until_seen(Revoked)).assignments
            assert isinstance(await reader.source.commit({assignment: Position(5)}), Committed)
            reader.source.release([assignment])
            assert {one.topic for one in await assigned_after(reader)} == {TOPIC, "second"}

    play(history, partitions=1)


@pytest.mark.parametrize("optional", [{"second"}, set()], ids=["optional", "required"])
def test_only_a_topic_that_may_be_missing_is_logged_once(
    optional: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def history(kafka: ModelKafka) -> None:
        topics = {"topics": (TOPIC, "second"), "optional_topics": frozenset(optional)}
        async with running(kafka, look_seconds=1.0, **topics) as reader:
            await let_pass(reader, 12)

    play(history, partitions=1)
    lines = [one for one in caplog.records if one.message == "topic_missing"]
    assert (len(lines) == 1) is bool(optional)


def test_topics_are_looked_for_although_all_that_were_there_are_gone() -> None:
    async def history(kafka: ModelKafka) -> None:
        topics = (TOPIC, "second")
        async with reading_on(kafka, 5, topics=topics, look_seconds=1.0) as reader:
            kafka.delete_topic(TOPIC)
            await let_pass(reader, 5)
            for topic in topics:
                kafka.add_topic(topic, 1)
            found: set[str] = set()
            while found != set(topics):
                found = {one.topic for one in await assigned_after(reader)}
            assert reader.source.rebuilds == 0

    play(history, partitions=1)


async def assigned_after(reader: SourceReader) -> set[Assignment]:
    """The partitions that are assigned next."""
    return {start.assignment for start in (await reader.until(Assigned)).starts}

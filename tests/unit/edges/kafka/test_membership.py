"""Whether a worker is a member of its group, and what it says when it isn't, on virtual time."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from tests.source_reader import SourceReader
from tests.unit.edges.kafka.model_brokers import TOPIC, play, running
from verification.simulation.kafka_model import ModelKafka
from worker.core.model.event import Assigned, Revoked
from worker.edges.telemetry.logs import fields_of

OTHER = "invoices"
SESSION_SECONDS = 10.0


def problem(reader: SourceReader) -> str | None:
    return reader.source.membership.unready_reason()


async def foreigner(kafka: ModelKafka) -> AIOKafkaConsumer:
    """Another program that uses the group's name, for a topic of its own."""
    kafka.add_topic(OTHER, 2)
    consumer = kafka.consumer(
        OTHER,
        group_id=TOPIC,
        client_id="billing",
        partition_assignment_strategy=(RangePartitionAssignor,),
    )
    await consumer.start()
    return consumer


def test_a_member_without_partitions_knows_that_its_brokers_are_gone() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as first, running(kafka) as second:
            await asyncio.sleep(30)
            idle = second if await has_partitions(first) else first
            assert not await has_partitions(idle)
            assert problem(first) is None and problem(second) is None
            kafka.network.take_down()
            # A short outage is none of a member's.
            await asyncio.sleep(SESSION_SECONDS / 2)
            assert problem(idle) is None
            await asyncio.sleep(SESSION_SECONDS)
            assert "has not answered for" in (problem(idle) or "")
            kafka.network.bring_up()
            await asyncio.sleep(30)
            assert problem(idle) is None

    play(history, partitions=1)


async def has_partitions(reader: SourceReader) -> bool:
    consumption = reader.source._consumption
    return consumption is not None and bool(consumption.consumer.assignment())


def test_a_worker_that_has_not_joined_is_no_member() -> None:
    async def history(kafka: ModelKafka) -> None:
        kafka.network.take_down()
        async with running(kafka) as reader:
            assert problem(reader) == "it has not joined its group yet"
            await asyncio.sleep(1)
            assert "nothing listens at this address" in (problem(reader) or "")
            kafka.network.bring_up()
            await asyncio.sleep(40)
            assert problem(reader) is None

    play(history, partitions=1)


def test_a_worker_names_the_program_that_holds_its_group_and_joins_when_it_has_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def history(kafka: ModelKafka) -> None:
        other = await foreigner(kafka)
        async with running(kafka) as reader:
            await asyncio.sleep(5)
            text = problem(reader) or ""
            assert f"another program holds the group {TOPIC}" in text
            assert "billing at model (protocol consumer, assignor range)" in text
            await other.stop()
            await reader.until(Assigned)
            assert problem(reader) is None

    play(history, partitions=1)
    lines = [
        fields_of(one) for one in caplog.records if one.message == "group_held_by_another_program"
    ]
    assert lines and all("billing" in str(line["detail"]) for line in lines)
    assert not [one for one in caplog.records if one.message == "kafka_not_reached"]


def test_a_worker_that_joins_while_the_brokers_move_finds_them_again() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as reader:
            await reader.until(Assigned)
            # A second member makes the first one join again; both are in the middle of it when the
            # brokers move.
            async with running(kafka) as second:
                await asyncio.sleep(1)
                kafka.network.move()
                await asyncio.sleep(120)
                assert problem(reader) is None and problem(second) is None

    play(history, partitions=2)


async def handled(reader: SourceReader) -> None:
    """Take events as they come, as the runner does."""
    while True:
        event = await reader.inbox.get(None)
        if isinstance(event, Revoked):
            reader.source.release(event.assignments)


def test_a_member_without_partitions_finds_brokers_that_have_moved() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as first, running(kafka) as second:
            pumps = [asyncio.create_task(handled(reader)) for reader in (first, second)]
            await asyncio.sleep(30)
            idle = second if await has_partitions(first) else first
            kafka.network.move()
            await asyncio.sleep(90)
            assert (problem(first), problem(second)) == (None, None)
            assert idle.source.rebuilds == 1, (
                "it fetches nothing, and only its coordinator's silence shows it"
            )
            for pump in pumps:
                pump.cancel()

    play(history, partitions=1)


def test_no_consumer_is_replaced_for_a_coordinator_that_answers_nobody() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as first, running(kafka) as second:
            await asyncio.sleep(30)
            idle = second if await has_partitions(first) else first
            kafka.network.hang()
            await asyncio.sleep(120)
            kafka.network.bring_up()
            await asyncio.sleep(60)
            assert problem(idle) is None
            assert idle.source.rebuilds == 0

    play(history, partitions=1)

"""Where partitions end, as operators see it, on virtual time."""

from __future__ import annotations

import asyncio

from tests.source_reader import SourceReader
from tests.unit.edges.kafka.model_brokers import TOPIC, play, running
from verification.simulation.kafka_model import ModelKafka
from worker.core.model.event import Assigned
from worker.core.model.record import End
from worker.edges.kafka.end_offsets import LOOK_SECONDS, latest


def stable(reader: SourceReader) -> dict[int, int]:
    return {assignment.partition: end.stable for assignment, end in reader.source.ends().items()}


def behind(reader: SourceReader) -> dict[int, int]:
    return {
        assignment.partition: end.behind_transaction
        for assignment, end in reader.source.ends().items()
    }


async def write(kafka: ModelKafka, count: int) -> None:
    for partition in (0, 1):
        for _ in range(count):
            kafka.append(TOPIC, partition, b"k", b"{}")


def test_the_end_of_a_paused_partition_is_known() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as reader:
            await reader.until(Assigned)
            reader.source.pause(reader.source._rebalances.ours)
            await write(kafka, 5000)
            await asyncio.sleep(2 * LOOK_SECONDS)
            assert stable(reader) == {0: 5000, 1: 5000}
            await write(kafka, 5000)
            await asyncio.sleep(2 * LOOK_SECONDS)
            assert stable(reader) == {0: 10_000, 1: 10_000}

    play(history, partitions=2)


def test_an_end_is_asked_for_over_new_connections_where_the_old_ones_have_died_silently() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as reader:
            await reader.until(Assigned)
            reader.source.pause(reader.source._rebalances.ours)
            # Fetched, and nothing more is fetched as long as nobody takes it.
            await write(kafka, 10)
            await asyncio.sleep(2 * LOOK_SECONDS)
            kafka.network.silence_connections()
            await write(kafka, 5000)
            await asyncio.sleep(6 * LOOK_SECONDS)
            assert stable(reader) == {0: 5010, 1: 5010}

    play(history, partitions=2)


def test_the_end_that_a_fetch_shows_is_not_replaced_by_one_that_was_asked_for_earlier() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as reader:
            await reader.until(Assigned)
            await asyncio.sleep(2 * LOOK_SECONDS)
            await write(kafka, 10)
            await reader.records(20)
            assert stable(reader) == {0: 10, 1: 10}

    play(history, partitions=2)


def test_what_waits_behind_an_open_transaction_is_known() -> None:
    async def history(kafka: ModelKafka) -> None:
        async with running(kafka) as reader:
            await reader.until(Assigned)
            await write(kafka, 10)
            kafka.open_transaction(TOPIC, 1)
            await write(kafka, 5)
            await reader.records(25)
            await asyncio.sleep(2 * LOOK_SECONDS)
            assert stable(reader) == {0: 15, 1: 10}
            assert behind(reader) == {0: 0, 1: 5}
            reader.source.pause(reader.source._rebalances.ours)
            await write(kafka, 2)
            await asyncio.sleep(2 * LOOK_SECONDS)
            assert behind(reader) == {0: 0, 1: 7}
            kafka.end_transaction(TOPIC, 1)
            await asyncio.sleep(2 * LOOK_SECONDS)
            assert stable(reader) == {0: 17, 1: 17}
            assert behind(reader) == {0: 0, 1: 0}

    play(history, partitions=2)


def test_after_the_clock_was_set_back_an_end_of_the_time_before_does_not_count_as_the_latest() -> (
    None
):
    before, after = End(10, 10, 5000.0), End(20, 20, 1000.0)
    assert latest([before, after], unix_seconds=1001.0) == after
    assert latest([before, after], unix_seconds=5001.0) == before
    # Nothing newer is known.
    assert latest([before], unix_seconds=1001.0) == before
    assert latest([], unix_seconds=1001.0) is None

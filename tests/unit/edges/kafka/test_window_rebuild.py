"""The tail of an arriving partition is read again as far as the brokers allow, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from tests.searches import some_of
from tests.source_reader import SourceReader
from tests.unit.edges.kafka.model_brokers import TOPIC, commit, play, running
from verification.simulation.kafka_faults import Fault
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.kafka_network import Network
from worker.core.model.event import Assigned, TailRead
from worker.core.wire import commit_metadata
from worker.edges.kafka.window_rebuild import NEWEST_RECORDS, TailOptions
from worker.edges.telemetry.logs import fields_of

DEAD_LETTERS = "events.dlq"
NAMING = {TOPIC: frozenset({DEAD_LETTERS})}
PARTITIONS = 3
VALUE = b"{}".ljust(100)


# The model's records are years old, by the clock on the wall.
AGE_SECONDS = 1e9
OPTIONS = TailOptions(
    records_max=50_000,
    rows_max={TOPIC: 1_000_000},
    seconds_max=10.0,
    age_seconds=AGE_SECONDS,
    end=commit_metadata.end,
)


def fill(kafka: ModelKafka, records: int) -> None:
    """Write this many settled records in each partition, and some dead letters."""
    kafka.add_topic(DEAD_LETTERS, 1)
    for partition in range(PARTITIONS):
        for _ in range(records):
            kafka.append(TOPIC, partition, b"k", VALUE)
        commit(kafka, partition, records)
    for _ in range(20):
        kafka.append(DEAD_LETTERS, 0, b"k", b"{}")


async def tails_until_assigned(reader: SourceReader) -> list[TailRead]:
    """All that is read again before anything is received."""
    assigned = await reader.until(Assigned)
    assert len(assigned.starts) == PARTITIONS
    return [event for event in reader.seen if isinstance(event, TailRead)]


def offsets(tails: list[TailRead]) -> Mapping[int, set[int]]:
    """What was read of each partition."""
    read: dict[int, set[int]] = {}
    for tail in tails:
        read.setdefault(tail.start.assignment.partition, set()).update(
            record.offset for record in tail.records
        )
    return read


def whole(records: int) -> Mapping[int, set[int]]:
    return {partition: set(range(records)) for partition in range(PARTITIONS)}


def read_while(
    disturb: Callable[[ModelKafka], None],
    at_seconds: float,
    records: int,
    options: TailOptions = OPTIONS,
    seconds_max: float = 60.0,
) -> list[TailRead]:
    """What is read again if this happens at that time."""
    read: list[TailRead] = []

    async def history(kafka: ModelKafka) -> None:
        fill(kafka, records)
        async with running(kafka, naming=NAMING, tail=options) as reader:
            asyncio.get_running_loop().call_later(at_seconds, disturb, kafka)
            read.extend(await tails_until_assigned(reader))
            assert asyncio.get_running_loop().time() < seconds_max

    play(history, partitions=PARTITIONS)
    return read


def complaints(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Of how many records the log says that they weren't read, and why."""
    lines = [fields_of(one) for one in caplog.records if one.message == "window_not_rebuilt"]
    return [(int(str(line["records"])), str(line["detail"])) for line in lines]


def nothing(kafka: ModelKafka) -> None:
    """All is well."""


@pytest.mark.parametrize("disturb", [Network.cut_connections, Network.silence_connections])
def test_tails_are_whole_whenever_the_connections_end(disturb: Callable[[Network], None]) -> None:
    # From before the group has formed to after the last tail.
    for at_seconds in some_of([number * 0.03 for number in range(20)]):
        read = read_while(
            lambda kafka: disturb(kafka.network),
            at_seconds,
            records=1200,
            options=replace(OPTIONS, seconds_max=5.0),
        )
        assert offsets(read) == whole(1200), at_seconds


@pytest.mark.parametrize("at_seconds", some_of([number * 0.05 for number in range(12)]))
def test_tails_are_whole_although_the_brokers_are_away_for_some_seconds(at_seconds: float) -> None:
    def disturb(kafka: ModelKafka) -> None:
        kafka.network.take_down()
        asyncio.get_running_loop().call_later(3.0, kafka.network.bring_up)

    assert offsets(read_while(disturb, at_seconds, records=1200)) == whole(1200)


def test_the_newest_records_of_all_partitions_come_before_older_ones() -> None:
    records = NEWEST_RECORDS + 3000
    tails = read_while(nothing, 0.0, records)
    assert offsets(tails) == whole(records)
    newest = [tail.records[0].offset >= records - NEWEST_RECORDS for tail in tails]
    assert newest == sorted(newest, reverse=True)
    # No record twice: the two spans of a partition meet.
    assert sum(len(tail.records) for tail in tails) == PARTITIONS * records


def test_when_time_runs_out_it_is_older_records_that_are_not_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def disturb(kafka: ModelKafka) -> None:
        for _ in range(1000):
            kafka.faults.disturb(FetchRequest, Fault(delay_seconds=1.3))

    records = 4 * NEWEST_RECORDS
    read = offsets(read_while(disturb, 0.0, records, seconds_max=15.0))
    for partition in range(PARTITIONS):
        assert set(range(records - NEWEST_RECORDS, records)) <= read[partition]
    unread = PARTITIONS * records - sum(map(len, read.values()))
    assert unread > 0
    assert complaints(caplog) == [(unread, "not finished within 10 s")]


def test_no_more_is_read_than_the_window_remembers() -> None:
    read = offsets(read_while(nothing, 0.0, 2000, replace(OPTIONS, rows_max={TOPIC: 1500})))
    assert read == {partition: set(range(1500, 2000)) for partition in range(PARTITIONS)}


def test_what_waits_to_be_received_is_no_part_of_the_tail() -> None:
    async def history(kafka: ModelKafka) -> None:
        fill(kafka, 30_000)
        settled = [(400, 402), (410, 420)]
        for partition in range(PARTITIONS):
            commit(kafka, partition, 350, settled)
        async with running(kafka, naming=NAMING, tail=OPTIONS) as reader:
            # Up to the last record that the commit names as settled, though most of the topic lies
            # behind it.
            assert offsets(await tails_until_assigned(reader)) == whole(420)

    play(history, partitions=PARTITIONS)


@pytest.mark.parametrize(
    "options", [replace(OPTIONS, records_max=0), replace(OPTIONS, rows_max={TOPIC: 2})]
)
def test_nothing_is_read_where_nothing_may_be(
    options: TailOptions, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_while(nothing, 0.0, 100, options) == []
    assert complaints(caplog) == []


def test_a_partition_that_is_damaged_for_good_is_given_up_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def disturb(kafka: ModelKafka) -> None:
        kafka.faults.corrupt_fetch(TopicPartition(TOPIC, 1))
        asyncio.get_running_loop().call_later(0.001, disturb, kafka)

    read = offsets(read_while(disturb, 0.0, 1200, seconds_max=5.0))
    assert read[0] == read[2] == set(range(1200))
    assert len(read.get(1, ())) < 1200
    ((unread, detail),) = complaints(caplog)
    assert unread == 1200 - len(read.get(1, ()))
    assert "CorruptRecordException" in detail


def test_what_only_the_way_here_has_damaged_is_read_again() -> None:
    for partition in range(PARTITIONS):
        read = read_while(
            lambda kafka, one=partition: kafka.faults.corrupt_fetch(  # type: ignore[misc]
                TopicPartition(TOPIC, one)
            ),
            0.0,
            1200,
        )
        assert offsets(read) == whole(1200)


def test_a_partition_without_a_leader_holds_up_no_other() -> None:
    async def history(kafka: ModelKafka) -> None:
        fill(kafka, 1200)
        async with running(kafka, naming=NAMING, tail=OPTIONS) as reader:
            first = await reader.until(TailRead)
            assert first.start.assignment.partition == 0
            kafka.faults.lose_leader(TopicPartition(TOPIC, 1))
            read = offsets(await tails_until_assigned(reader))
            assert read == {0: set(range(1200)), 2: set(range(1200))}

    play(history, partitions=PARTITIONS)


def test_where_dead_letters_cannot_be_read_nothing_is_remembered_and_nothing_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def disturb(kafka: ModelKafka) -> None:
        kafka.faults.corrupt_fetch(TopicPartition(DEAD_LETTERS, 0))
        asyncio.get_running_loop().call_later(0.001, disturb, kafka)

    assert read_while(disturb, 0.0, 100, seconds_max=5.0) == []
    ((unread, detail),) = complaints(caplog)
    assert unread == 300
    assert "CorruptRecordException" in detail

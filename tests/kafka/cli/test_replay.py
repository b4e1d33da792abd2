"""`dlq replay` on real Kafka: what is replayed and remembered, and what a kill costs."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.builders import FakeRecord, make_assignment, make_value
from tests.kafka.cli.commands import Commands, configuration
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.row import Destination, Row
from worker.core.post_api.resource import Identity
from worker.core.wire.record_headers import REPLAYS, WRITTEN
from worker.edges.kafka.stored_records import dead_letter_headers, parking_headers
from worker.sandbox.topics import create_topics, read_all, started
from worker.tools.dead_letters.replay import BATCH_RECORDS

STEP_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
# Long values, so that a replay takes a while.
PADDING = "x" * 500
# When the source records of the dead letters were written.
FIRST_WRITTEN = (WRITTEN, b"%d" % FakeRecord().timestamp)


class Quarantine:
    """A source topic, its dead-letter topic with records of the test, and commands."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        directory: Path,
        delivery: Mapping[str, bool] | None = None,
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self.dead_letter_topic = f"{topic}.dlq"
        text = configuration(bootstrap_servers, topic, parking={"enabled": False})
        if delivery is not None:
            text["routes"][0]["delivery"] = dict(delivery)
        self.commands = Commands(directory, text)

    async def write(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None, Any]]
    ) -> None:
        """Write records: key, value, headers; all into partition 0, in order."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers, acks="all", enable_idempotence=True
        )
        async with started(producer):
            waiting = [
                await producer.send(topic, key=key, value=value, headers=headers, partition=0)
                for key, value, headers in records
            ]
            await asyncio.gather(*waiting)

    def dead_letter(
        self, number: int, reason: Reason = Reason.MISSING, replays: int = 0, **fields: object
    ) -> tuple[Any, Any, Any]:
        """A dead letter as the worker writes it; `number` is in its key and its value."""
        headers = [("trace", b"%d" % number)] + ([(REPLAYS, b"%d" % replays)] if replays else [])
        value = make_value(profile_id=f"user-{number}", **fields)
        record = FakeRecord(number, value, b"%d" % number, headers)
        rejection = Rejection(
            make_assignment(0, topic=self.topic), record, (FieldFault(reason, "", "a fault"),), 1
        )
        return record.key, value, dead_letter_headers(rejection, "1")

    async def replay(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Replay and return the printed document."""
        result = await self.commands.run("dlq", "replay", "--json", *arguments)
        assert result.code == code, result
        document: dict[str, Any] = result.document
        return document

    async def sent(self) -> list[Any]:
        """The records of the source topic."""
        return await read_all(self.bootstrap_servers, self.topic)

    async def numbers(self) -> list[int]:
        """The numbers of the records in the source topic, in order."""
        return sorted(int(record.key or b"-1") for record in await self.sent())


@pytest.fixture
async def bench(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> Quarantine:
    bench = Quarantine(bootstrap_servers, new_topic("replay"), tmp_path)
    await create_topics(bootstrap_servers, {bench.topic: 1, bench.dead_letter_topic: 1})
    return bench


async def test_a_record_is_replayed_unchanged_and_its_replays_are_counted(
    bench: Quarantine,
) -> None:
    await bench.write(
        bench.dead_letter_topic,
        [bench.dead_letter(1), bench.dead_letter(2, replays=1), (b"k", b"foreign", [])],
    )
    # 65: the record that another program wrote is not replayed.
    found = await bench.replay(code=65)
    assert (found["sent"], found["refused"]) == (2, {"its headers name no source record": 1})
    first, second = await bench.sent()
    assert (first.key, first.value) == (b"1", bench.dead_letter(1)[1])
    assert list(first.headers) == [("trace", b"1"), (REPLAYS, b"1"), FIRST_WRITTEN]
    assert list(second.headers) == [("trace", b"2"), (REPLAYS, b"2"), FIRST_WRITTEN]


async def test_a_record_with_too_many_replays_is_refused_until_more_are_allowed(
    bench: Quarantine,
) -> None:
    await bench.write(
        bench.dead_letter_topic, [bench.dead_letter(1), bench.dead_letter(2, replays=3)]
    )
    found = await bench.replay(code=65)
    assert (found["sent"], found["refused"]) == (1, {"already replayed 3 times": 1})
    more = await bench.replay("--max-replays", "4")
    assert (more["sent"], more["sent_before"]) == (1, 1)
    assert await bench.numbers() == [1, 2]


async def test_no_record_is_replayed_by_two_selections(bench: Quarantine) -> None:
    reasons = (Reason.MISSING, Reason.REFUSED, Reason.TOO_OLD)
    await bench.write(
        bench.dead_letter_topic,
        [bench.dead_letter(number, reasons[number % 3]) for number in range(9)],
    )
    assert (await bench.replay("--reason", "refused", "--max", "2"))["sent"] == 2
    assert (await bench.replay("--reason", "refused", "--reason", "too_old"))["sent"] == 4
    # The same command goes on where it was; and nothing is left for it.
    assert (await bench.replay("--reason", "refused", "--max", "2"))["sent"] == 0
    everything = await bench.replay()
    assert (everything["sent"], everything["sent_before"]) == (3, 6)
    assert await bench.numbers() == list(range(9))
    await bench.write(bench.dead_letter_topic, [bench.dead_letter(9)])
    assert (await bench.replay())["sent"] == 1


async def test_a_record_of_a_deleted_topic_is_refused_and_stays_replayable(
    bench: Quarantine,
) -> None:
    gone = f"{bench.topic}-gone"

    def from_the_gone(number: int) -> tuple[Any, Any, Any]:
        key, value, headers = bench.dead_letter(number)
        return (
            key,
            value,
            [
                (name, gone.encode() if name.endswith("errors.topic") else one)
                for name, one in headers
            ],
        )

    stored = [bench.dead_letter(0), from_the_gone(1), bench.dead_letter(2), from_the_gone(3)]
    await bench.write(bench.dead_letter_topic, stored)
    for _ in range(2):
        found = await bench.replay(code=65)
        assert found["refused"] == {f"topic {gone} does not exist": 2}
    assert (await bench.replay("--reason", "missing", code=65))["sent"] == 0, (
        "for another selection neither"
    )
    assert await bench.numbers() == [0, 2]
    await create_topics(bench.bootstrap_servers, {gone: 1})
    assert (await bench.replay("--reason", "missing"))["sent"] == 2
    assert (await bench.replay())["sent"] == 0
    assert await bench.numbers() == [0, 2]
    assert {record.key for record in await read_all(bench.bootstrap_servers, gone)} == {b"1", b"3"}


async def test_records_of_an_ordered_topic_are_replayed_only_where_that_is_allowed(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> None:
    bench = Quarantine(bootstrap_servers, new_topic("ordered"), tmp_path, {"ordered": True})
    await create_topics(bootstrap_servers, {bench.topic: 1, bench.dead_letter_topic: 1})
    await bench.write(bench.dead_letter_topic, [bench.dead_letter(1)])
    found = await bench.replay(code=65)
    refusal = f"topic {bench.topic} is ordered: use --allow-reorder to replay"
    assert (found["sent"], found["refused"]) == (0, {refusal: 1})
    assert await bench.numbers() == []
    assert (await bench.replay("--allow-reorder"))["sent"] == 1
    assert await bench.numbers() == [1]


async def test_a_replay_that_is_killed_loses_nothing_and_repeats_one_batch_at_most(
    bench: Quarantine,
) -> None:
    count = 20 * BATCH_RECORDS
    stored = [bench.dead_letter(number, event_json={"padding": PADDING}) for number in range(count)]
    await bench.write(bench.dead_letter_topic, stored)
    # Not too fast to be killed in the middle.
    process = await bench.commands.start("dlq", "replay", "--rate", str(4 * BATCH_RECORDS))
    try:
        await _await_records(bench, 3 * BATCH_RECORDS)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    killed_at = len(await bench.sent())
    assert 3 * BATCH_RECORDS <= killed_at < count
    found = await bench.replay()
    times = Counter(await bench.numbers())
    assert times.keys() == set(range(count))
    repeated = [number for number, often in times.items() if often > 1]
    assert len(repeated) <= BATCH_RECORDS and max(times.values()) <= 2
    assert found["sent"] == count - killed_at + len(repeated)


async def test_of_two_replays_of_the_same_selection_one_fails(bench: Quarantine) -> None:
    count = 20 * BATCH_RECORDS
    await bench.write(
        bench.dead_letter_topic, [bench.dead_letter(number) for number in range(count)]
    )
    slow = await bench.commands.start("dlq", "replay", "--rate", str(BATCH_RECORDS // 2))
    try:
        await _await_records(bench, BATCH_RECORDS)
        result = await bench.commands.run("dlq", "replay")
        async with asyncio.timeout(STEP_SECONDS_MAX):
            # Whichever comes second to a commit: nobody sends on beside another.
            assert sorted([result.code, await slow.wait()]) == [0, 75]
    finally:
        if slow.returncode is None:
            slow.kill()
    times = Counter(await bench.numbers())
    assert times.keys() <= set(range(count)) and sum(times.values()) - len(times) <= BATCH_RECORDS
    await bench.commands.ok("dlq", "replay")
    assert set(await bench.numbers()) == set(range(count))


async def test_a_position_is_committed_only_when_all_below_it_is_acknowledged(
    bench: Quarantine,
) -> None:
    # What can't be compressed.
    large = token_urlsafe(30_000)
    stored = [bench.dead_letter(number) for number in range(BATCH_RECORDS + 5)] + [
        bench.dead_letter(999, event_json={"a": large})
    ]
    await bench.write(bench.dead_letter_topic, stored)
    await _take_at_most(bench, bytes_max=10_000)
    result = await bench.commands.run("dlq", "replay")
    assert (result.code, "MessageSizeTooLarge" in result.stderr) == (69, True)
    # The first batch is remembered, the second isn't: the same command continues with it.
    await _take_at_most(bench, bytes_max=100_000)
    assert (await bench.replay())["sent"] == 6
    assert set(await bench.numbers()) == {*range(BATCH_RECORDS + 5), 999}


async def test_the_source_of_a_shortened_dead_letter_is_replayed(bench: Quarantine) -> None:
    value = make_value(profile_id="user-0", event_json={"a": PADDING})
    await bench.write(bench.topic, [(b"0", value, [("trace", b"0")])])
    note = orjson.dumps({"bytes": len(value), "sha256": sha256(value).hexdigest()})
    key, _, headers = bench.dead_letter(0)
    shortened = [*headers, ("__appmetrica.errors.shortened", note)]
    _, _, elsewhere = bench.dead_letter(77)
    gone = [*elsewhere, ("__appmetrica.errors.shortened", note)]
    # The topic was created again, and another record is at the offset.
    replaced = [
        *headers,
        (
            "__appmetrica.errors.shortened",
            orjson.dumps({"bytes": 1, "sha256": sha256(b"x").hexdigest()}),
        ),
    ]
    stored = [(key, value[:20], replaced), (key, value[:20], shortened), (b"77", value[:20], gone)]
    await bench.write(bench.dead_letter_topic, stored)
    found = await bench.replay(code=65)
    assert (found["sent"], found["refused"]) == (
        1,
        {"shortened, and the source record no longer exists": 2},
    )
    original, replayed = await bench.sent()
    assert (replayed.key, replayed.value) == (original.key, original.value)
    assert list(replayed.headers) == [("trace", b"0"), (REPLAYS, b"1"), FIRST_WRITTEN]
    (without_source, shown, replaced_source) = (
        await bench.commands.ok("dlq", "peek", "--json")
    ).document
    assert shown["original"]["value"].encode() == value
    assert "original" not in without_source and "original" not in replaced_source


async def test_parked_records_are_replayed_except_redelivered_records(bench: Quarantine) -> None:
    topic = f"{bench.topic}.parked"
    await create_topics(bench.bootstrap_servers, {topic: 1})
    rows = [
        Row(
            make_assignment(0, topic=bench.topic),
            FakeRecord(number, make_value(), b"%d" % number),
            Destination("events", 1111, Identity.PROFILE_ID),
            b"",
            b"",
            0,
            0,
        )
        for number in range(4)
    ]
    await bench.write(
        topic, [(row.record.key, row.record.value, parking_headers(row)) for row in rows]
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bench.bootstrap_servers, group_id=bench.topic, enable_auto_commit=False
    )
    async with started(consumer):
        partition = ClientPartition(topic, 0)
        consumer.assign([partition])
        await consumer.commit({partition: 2})
    refused = await bench.commands.run("parked", "replay", "--set", "parking.enabled=true")
    assert (
        refused.code == 2 and "redelivers the parked records when the hold ends" in refused.stderr
    )
    await bench.commands.ok("parked", "replay")
    assert await bench.numbers() == [2, 3]
    assert list((await bench.sent())[0].headers) == [(REPLAYS, b"1"), FIRST_WRITTEN]


async def _await_records(bench: Quarantine, count: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bench.bootstrap_servers)
    await consumer.start()
    partition = ClientPartition(bench.topic, 0)
    try:
        for _ in range(round(STEP_SECONDS_MAX / POLL_SECONDS)):
            if (await consumer.end_offsets([partition]))[partition] >= count:
                return
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError(f"not {count} records after {STEP_SECONDS_MAX} s")
    finally:
        await consumer.stop()


async def _take_at_most(bench: Quarantine, bytes_max: int) -> None:
    """Set how large a batch the source topic takes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.bootstrap_servers)
    async with started(admin):
        await admin.alter_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC,
                    bench.topic,
                    configs={"max.message.bytes": str(bytes_max)},
                )
            ]
        )

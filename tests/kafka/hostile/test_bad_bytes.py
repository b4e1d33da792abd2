"""100,000 bad values through real Kafka and a real worker: each ends in one place, once."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.builders import FakeRecord, make_assignment, make_rules, make_value, now_at
from tests.e2e.stage import KEYS, Stage
from tests.hostile_values import Hostile, hostile_values, huge_values
from tests.yardstick import STALL_UNITS_MAX, cpu_seconds, unit_seconds, units
from worker.core.intake.intake import Intake
from worker.core.model.fault import Reason
from worker.core.model.record import Record
from worker.core.wire.record_headers import ERRORS_PREFIX
from worker.edges.kafka.chunks import slices
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.topics import committed_lag, read_all, started

COUNT = 100_000
SEED = 20_241_105
PARTITIONS = 4
SETTLE_SECONDS_MAX = 300
VALUE_BYTES_MAX = 16 * 1024 * 1024


async def make_topic(
    bootstrap_servers: str, name: str, partitions: int, value_bytes_max: int
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    configs = {"max.message.bytes": str(value_bytes_max)}
    await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    await admin.close()


async def publish_all(bootstrap_servers: str, topic: str, values: list[Hostile]) -> None:
    """Each with its number as the key."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        compression_type="zstd",
        linger_ms=5,
        max_request_size=VALUE_BYTES_MAX,
    )
    async with started(producer):
        sent = [
            await producer.send(topic, one.value, key=b"%d" % number)
            for number, one in enumerate(values)
        ]
        await asyncio.gather(*sent)


async def until_settled(bootstrap_servers: str, topic: str) -> None:
    """The group has committed to the end. It takes 25 s of CPU."""
    for _ in range(SETTLE_SECONDS_MAX):
        if await committed_lag(bootstrap_servers, topic, topic) == 0:
            return
        await asyncio.sleep(1.0)
    raise AssertionError(f"not at the end after {SETTLE_SECONDS_MAX} s")


def named(value: bytes | None) -> str:
    """The event's name, as the standard library reads it; the last one counts."""
    event = json.loads((value or b"").decode())
    assert isinstance(event, dict)
    return str(event["event_name"])


def lags_above(metrics: str, seconds: float) -> int:
    """How often the loop turned later than this number of seconds.

    The number must be a bound of the histogram.
    """
    name = "appmetrica_worker_loop_lag_seconds"
    total = re.search(rf"^{name}_count (\S+)", metrics, re.MULTILINE)
    below = re.search(rf'^{name}_bucket{{le="{seconds}"}} (\S+)', metrics, re.MULTILINE)
    assert total is not None
    assert below is not None
    return round(float(total[1]) - float(below[1]))


async def test_every_bad_value_ends_as_delivered_or_dead_lettered(
    bootstrap_servers: str,
    new_topic: Callable[[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = new_topic("bad-bytes")
    await make_topic(bootstrap_servers, topic, PARTITIONS, VALUE_BYTES_MAX)
    await make_topic(bootstrap_servers, f"{topic}.dlq", 1, 1_048_588)
    unix_seconds = int(time.time())
    values = [*hostile_values(COUNT, SEED, unix_seconds), *huge_values(SEED, unix_seconds)]
    await publish_all(bootstrap_servers, topic, values)
    async with Emulator(EmulatorOptions(keys=KEYS)) as emulator:
        stage = Stage(bootstrap_servers, topic, emulator, tmp_path)
        worker = await stage.start_worker({"kafka": {}, "batching": {"rows_max": 5000}})
        try:
            await until_settled(bootstrap_servers, topic)
            status, metrics = await worker.status(), await worker.metrics()
            worker.send(signal.SIGTERM)
            assert await worker.wait(45.0) == 0
        finally:
            worker.kill()
        rows = emulator.ledger.rows
    dead_letters = [
        (int(dead_letter.key or b""), dict(dead_letter.headers))
        for dead_letter in await read_all(bootstrap_servers, f"{topic}.dlq")
    ]
    dead_lettered = Counter(number for number, _ in dead_letters)
    reasons = Counter(headers[f"{ERRORS_PREFIX}reason"].decode() for _, headers in dead_letters)
    with capsys.disabled():
        lags = {seconds: lags_above(metrics, seconds) for seconds in (0.1, 0.25, 1.0)}
        sys.stdout.write(
            f"\n  {len(values):,} bad values: {len(rows):,} delivered, dead-lettered "
            f"{dict(reasons)}, late {lags}\n"
        )
    assert set(dead_lettered.values()) == {1}
    assert reasons.keys() <= {reason.value for reason in Reason}
    # What has no dead letter was delivered, once and under its own name.
    names = Counter(row.cells[row.columns.index("event_name")] for row in rows)
    assert names == Counter(
        named(one.value) for number, one in enumerate(values) if number not in dead_lettered
    )
    # And the other way round: what is plainly in order was not refused.
    plain = {
        number
        for number, one in enumerate(values)
        if one.kind in ("valid", "as ASCII", "indented", "6 MB")
    }
    assert plain.isdisjoint(dead_lettered)
    assert status["accounting_imbalance_records"] == 0
    assert status["topics"][topic]["consumed"] == len(values)
    # How late the loop turned is printed, not asserted: it depends on what else the machine does.
    # The test below bounds slices.


def test_no_slice_of_bad_values_holds_the_loop_up_for_long() -> None:
    values = [
        *hostile_values(COUNT, SEED, int(now_at().unix_seconds)),
        *huge_values(SEED, int(now_at().unix_seconds)),
    ]
    intake = Intake(make_rules(row_bytes_max=8 * 1024 * 1024))
    costliest, unit = 0.0, unit_seconds()
    for start in range(0, len(values), 1000):
        records = [
            FakeRecord(number, one.value)
            for number, one in enumerate(values[start : start + 1000], start)
        ]
        for part, _ in slices(records, start + len(records)):
            costliest = max(costliest, cost(intake, part, unit))
    assert costliest < STALL_UNITS_MAX


def cost(intake: Intake, records: Sequence[Record], unit: float) -> float:
    """What reading these costs in units.

    What seems to cost much is measured again: a collection may have come in between.
    """
    once = cpu_seconds(lambda: intake.read(make_assignment(), records, now_at())) / unit
    return (
        units(lambda: intake.read(make_assignment(), records, now_at()))
        if once > STALL_UNITS_MAX / 2
        else once
    )


def test_without_slices_large_values_would() -> None:
    # What makes the test above able to fail: as many as one poll may take, at once.
    records = [FakeRecord(number, make_value(mcc="я" * 20_000)) for number in range(500)]
    intake = Intake(make_rules())
    unit = unit_seconds()
    assert cost(intake, records, unit) > STALL_UNITS_MAX
    assert max(cost(intake, part, unit) for part, _ in slices(records, 500)) < STALL_UNITS_MAX / 2


def test_slices_are_whole_in_order_and_small() -> None:
    records = [FakeRecord(2 * number, bytes(number * 1000)) for number in range(1000)]
    parts = list(slices(records, 5000))
    assert [record for part, _ in parts for record in part] == records
    assert [position for _, position in parts[:-1]] == [
        part[-1].offset + 1 for part, _ in parts[:-1]
    ]
    assert parts[-1][1] == 5000
    assert max(sum(len(record.value or b"") for record in part) for part, _ in parts) <= 1024 * 1024
    assert [len(part) for part, _ in slices([], 7)] == [0]

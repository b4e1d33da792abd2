"""Rows that make the API fail, and an API too slow for full batches, end to end on real Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import log2
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tests.e2e.stage import Stage, meanwhile, on_stage
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.emulator.ledger import KeptRow
from worker.sandbox.processes import WorkerProcess
from worker.sandbox.reconciliation import REASON_HEADER
from worker.sandbox.topics import publish, read_all

ROWS, ROWS_MAX = 2_000, 500
POISON = "poison"
QUICK: dict[str, Any] = {
    "batching": {"rows_max": ROWS_MAX, "linger_seconds": 0.2},
    "delivery": {"backoff_max_seconds": 1, "hold_probe_seconds": 2},
}
# For an API that gives no answer in time. On a slow machine an innocent request may run into it as
# well, and be sent again.
IMPATIENT = QUICK | {"appmetrica": {"read_timeout_seconds": 1, "total_timeout_seconds": 1.5}}
FAULTS = {
    "500": PlannedFault(FaultKind.STATUS, status=500, text=POISON),
    "403": PlannedFault(FaultKind.STATUS, status=403, text=POISON),
    "reset": PlannedFault(FaultKind.RESET_AFTER, text=POISON),
    "hang": PlannedFault(FaultKind.HANG, text=POISON),
}
STREAM_MAX = 300


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("moods"), tmp_path) as stage:
        yield stage


def record(name: str) -> tuple[bytes, bytes]:
    event = {
        "application_id": 1111,
        "profile_id": "user",
        "event_name": name,
        "event_timestamp": int(time.time()),
    }
    return name.encode(), json.dumps(event).encode()


def names(rows: list[KeptRow]) -> Counter[str]:
    return Counter(dict(zip(row.columns, row.cells, strict=True))["event_name"] for row in rows)


@asynccontextmanager
async def streaming(stage: Stage) -> AsyncIterator[None]:
    """Publish another event now and then, as in life.

    Without other accepted events no row can be blamed.
    """

    async def stream() -> None:
        for number in range(STREAM_MAX):
            await publish(stage.bootstrap_servers, stage.topic, [record(f"stream-{number}")])
            await asyncio.sleep(0.2)

    async with meanwhile(stream):
        yield


async def dead_letters(stage: Stage) -> list[ConsumerRecord[bytes, bytes]]:
    """What the dead-letter topic holds, once it holds anything."""
    for _ in range(STREAM_MAX):
        if found := await read_all(stage.bootstrap_servers, stage.dead_letter_topic):
            return found
        await asyncio.sleep(0.2)
    raise TimeoutError("no dead letter came")


async def await_hold(worker: WorkerProcess) -> None:
    """Wait until the worker has put an application on hold."""
    for _ in range(STREAM_MAX):
        if "application_held" in worker.log_file.read_text():
            return
        await asyncio.sleep(0.2)
    raise TimeoutError(f"no application is on hold: {worker.log_tail()}")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_row_that_makes_the_api_fail_is_dead_lettered_and_all_others_are_delivered(
    stage: Stage, fault: str
) -> None:
    stage.emulator.plan(FAULTS[fault])
    wanted = [f"event-{number}" for number in range(ROWS)]
    wanted[ROWS // 3] = POISON
    await publish(stage.bootstrap_servers, stage.topic, map(record, wanted))
    await stage.start_worker(IMPATIENT if fault == "hang" else QUICK)
    async with streaming(stage):
        await stage.await_rows(ROWS - 1)
        dead = await dead_letters(stage)
    assert [(one.key, dict(one.headers)[REASON_HEADER]) for one in dead] == [
        (POISON.encode(), b"fails_alone")
    ]
    await stage.await_settled()
    arrived = names(stage.emulator.ledger.rows)
    assert set(wanted) - arrived.keys() == {POISON}
    assert max(arrived.values()) <= (log2(ROWS_MAX) + 4 if fault == "hang" else 1)


async def test_an_api_too_slow_for_full_batches_gets_all_rows_each_a_bounded_number_of_times(
    stage: Stage,
) -> None:
    # A full batch takes 4 s of 1 allowed.
    stage.emulator.plan(PlannedFault(FaultKind.SLOW_ROWS, delay_seconds=0.008))
    wanted = [f"event-{number}" for number in range(ROWS)]
    await publish(stage.bootstrap_servers, stage.topic, map(record, wanted))
    await stage.start_worker(IMPATIENT)
    await stage.await_settled()
    arrived = names(stage.emulator.ledger.rows)
    assert arrived.keys() == set(wanted)
    assert max(arrived.values()) <= log2(ROWS_MAX) + 4


async def test_an_api_that_refuses_everything_for_a_while_makes_no_dead_letter(
    stage: Stage,
) -> None:
    stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=400))
    wanted = [f"event-{number}" for number in range(ROWS)]
    await publish(stage.bootstrap_servers, stage.topic, map(record, wanted))
    worker = await stage.start_worker(QUICK)
    async with streaming(stage):
        await await_hold(worker)
        stage.emulator.plan()
        await stage.await_rows(ROWS)
    await stage.await_settled()
    assert await read_all(stage.bootstrap_servers, stage.dead_letter_topic) == []
    assert set(wanted) - names(stage.emulator.ledger.rows).keys() == set()

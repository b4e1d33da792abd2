"""What a worker shows of keys and of records, in logs, on pages and in diagnostics."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest

from tests.e2e.stage import KEYS, Stage, mixed, on_stage
from tests.log_lines import faults_of
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.samples import REFUSED_EVENT_NAME
from worker.sandbox.topics import publish, read_all


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("e2e"), tmp_path) as stage:
        yield stage


PERSONAL = "jane.roe@example.org"


async def test_neither_debugging_nor_diagnostics_show_what_records_hold(stage: Stage) -> None:
    events = [
        {
            "application_id": 1111,
            "profile_id": f"{PERSONAL}-{number}",
            "event_name": name,
            "event_timestamp": int(time.time()),
            "event_json": {"mail": PERSONAL},
            **more,
        }
        for number, (name, more) in enumerate(
            [
                ("bought", {}),
                ("bought", {"mcc": PERSONAL}),
                (REFUSED_EVENT_NAME, {}),
                ("bought", {"unknown": PERSONAL}),
            ]
        )
    ]
    values = [orjson.dumps(event) for event in events]
    await publish(
        stage.bootstrap_servers, stage.topic, ((PERSONAL.encode(), value) for value in values)
    )
    worker = await stage.start_worker({"log": {"level": "debug"}, "admin": {"debug_stacks": True}})
    await stage.await_settled()
    worker.send(signal.SIGQUIT)
    for _ in range(400):
        if '"diagnostics_partitions"' in worker.log_file.read_text():
            break
        await asyncio.sleep(0.05)
    worker.send(signal.SIGTERM)
    assert await worker.wait(45.0) == 0
    log = worker.log_file.read_text()
    lines = [orjson.loads(line) for line in log.splitlines()]
    kinds = {line["kind"] for line in lines if line["event"] == "pipeline_event"}
    assert {"received", "post", "answered", "write_dead_letters", "commit", "committed"} <= kinds
    (events_line, *_) = [line for line in lines if line["event"] == "diagnostics_events"]
    assert {"received", "post", "answered"} <= {step["kind"] for step in events_line["events"]}
    for secret in (PERSONAL, *KEYS.values()):
        assert secret not in log
    for line in (line for line in lines if line["logger"].startswith("worker")):
        assert faults_of(line["event"], line["level"], line.keys()) == []


async def test_the_key_shows_nowhere(stage: Stage) -> None:
    faults = [
        PlannedFault(FaultKind.STATUS, status=500, count=2),
        PlannedFault(FaultKind.RESET_BEFORE, count=2),
        PlannedFault(FaultKind.RESET_DURING, count=2),
        PlannedFault(FaultKind.RESET_AFTER, count=2),
        PlannedFault(FaultKind.ACCEPT_THEN_DROP, count=2),
        PlannedFault(
            FaultKind.REDIRECT, status=302, count=1, location=f"/else?post_api_key={KEYS[1111]}"
        ),
        PlannedFault(FaultKind.BROKEN_BODY, count=2),
        PlannedFault(FaultKind.STATUS, status=403, count=1, application_id=2222),
        PlannedFault(FaultKind.DELAY, count=1, delay_seconds=4.0),
    ]
    stage.emulator.plan(*faults)
    await stage.publish(mixed(3_000))
    worker = await stage.start_worker(
        {
            "log": {"level": "debug"},
            "delivery": {"hold_probe_seconds": 1, "backoff_max_seconds": 1},
            "appmetrica": {
                "base_url": stage.emulator.base_url,
                "total_timeout_seconds": 3,
                "read_timeout_seconds": 3,
                "connect_timeout_seconds": 2,
            },
        }
    )
    await stage.await_settled()
    pages = [await worker.metrics(), str(await worker.status())]
    worker.send(signal.SIGTERM)
    assert await worker.wait(45.0) == 0
    log = worker.log_file.read_text()
    dead_letters = [
        str(record) for record in await read_all(stage.bootstrap_servers, stage.dead_letter_topic)
    ]
    assert len(dead_letters) > 0
    assert "application_held" in log
    for key in KEYS.values():
        for text in (log, *pages, *dead_letters):
            assert key not in text

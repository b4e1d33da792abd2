"""Diagnostics of a real worker: at SIGQUIT, on the admin port, and of a blocked event loop."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.log_lines import faults_of
from tests.lone_worker import KEY, lone_worker
from worker.sandbox.processes import WorkerProcess

PARTS = ("threads", "tasks", "events", "partitions")
# No test waits so long as long as the code is right.
HANGING_SECONDS = 60


async def lines_of(worker: WorkerProcess, event: str) -> list[dict[str, Any]]:
    """The lines of the log, once this one is there."""
    for _ in range(600):
        if worker.log_file.exists() and f'"{event}"' in worker.log_file.read_text():
            return [json.loads(line) for line in worker.log_file.read_text().splitlines()]
        await asyncio.sleep(0.05)
    raise AssertionError(worker.log_tail())


async def stacks(worker: WorkerProcess) -> dict[str, list[str]]:
    """The answer of `/debug/stacks`, once the worker consumes."""
    async with aiohttp.ClientSession() as client:
        for _ in range(600):
            try:
                async with client.get(f"{worker.admin_url}/debug/stacks") as response:
                    document: dict[str, list[str]] = await response.json()
                    if any(line.startswith("kafka source") for line in document["tasks"]):
                        return document
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(worker.log_tail())


async def test_a_worker_shows_what_it_does_at_sigquit_and_on_the_admin_port(tmp_path: Path) -> None:
    worker = lone_worker(tmp_path, admin={"debug_stacks": True}, log={"level": "error"})
    worker.start()
    try:
        document = await stacks(worker)
        worker.send(signal.SIGQUIT)
        lines = await lines_of(worker, "diagnostics_partitions")
        worker.send(signal.SIGTERM)
        assert await worker.wait(10.0) == 0
    finally:
        worker.kill()
    assert tuple(sorted(document)) == tuple(sorted(PARTS))
    written = [line for line in lines if line["event"].startswith("diagnostics_")]
    assert [line["event"] for line in written] == [f"diagnostics_{part}" for part in PARTS]
    assert {line["cause"] for line in written} == {"SIGQUIT"}
    for tasks in (document["tasks"], written[1]["tasks"]):
        (source,) = [line for line in tasks if line.startswith("kafka source: ")]
        # Where it waits, and not only where the task began.
        assert "supervise (supervision.py:" in source
        assert "join (membership.py:" in source
    for thread in ("MainThread", "signals", "loop watchdog"):
        assert any(line.startswith(f"{thread}: ") for line in written[0]["threads"])
    assert KEY not in worker.log_file.read_text() + json.dumps(document)
    for line in (line for line in lines if line["logger"].startswith("worker")):
        assert faults_of(line["event"], line["level"], line.keys()) == []


BLOCKED = """
import asyncio, logging, os, signal
from functools import partial
from worker.daemon.signals import Signals
signals = Signals()
signals.install()
from worker.core.counters.trail import Trail
from worker.edges.telemetry import event_loop
from worker.edges.telemetry.diagnostics import Diagnostics
from worker.edges.telemetry.logs import configure_logging

configure_logging("json", "info", [])
diagnostics = Diagnostics(Trail(), lambda: None)
event_loop.LOOK_SECONDS = event_loop.BLOCKED_SECONDS_MAX = 0.05

def end_after(write, *arguments):
    write(*arguments)
    logging.shutdown()
    os._exit(0)

async def block_the_loop():
    loop = asyncio.get_running_loop()
    {begin}
    while True:
        pass

asyncio.run(block_the_loop())
"""
BEGIN = {
    "at SIGQUIT": """quit = partial(end_after, diagnostics.write_from_thread, loop, "SIGQUIT")
    signals.hand_over(print, 40, {signal.SIGQUIT: quit})
    os.kill(os.getpid(), signal.SIGQUIT)""",
    "by the watchdog": """report = partial(end_after, diagnostics.report_blockade)
    watching = asyncio.create_task(event_loop.LoopWatchdog(report).run())
    await asyncio.sleep(0)""",
}


@pytest.mark.parametrize("begin", BEGIN.values(), ids=BEGIN)
def test_a_blocked_event_loop_is_found_by_the_stacks_of_the_threads(begin: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", BLOCKED.replace("{begin}", begin)],
        capture_output=True,
        text=True,
        timeout=HANGING_SECONDS,
        check=False,
    )
    line = json.loads(process.stderr.splitlines()[-1])
    (main,) = [one for one in line["threads"] if one.startswith("MainThread: ")]
    assert "block_the_loop (<string>:" in main.rpartition(" > ")[2]

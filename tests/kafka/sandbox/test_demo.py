"""The demo as a newcomer runs it: it balances, and whatever ends it, no process stays behind."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from worker.sandbox.processes import end_with

MARK = "DEMO_TEST_MARK"
TIMEOUT_SECONDS = 120.0
# Of the many alerts, some that every version has.
ALERTS = {"AppMetricaWorkerApplicationHeld", "AppMetricaWorkerNotDelivering"}


class Demo:
    """The demo's process, and every process that it or its children started."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self.process = process
        self._mark = f"{MARK}={mark}".encode()
        self.output = ""

    async def says(self, text: str) -> None:
        """Wait until it has printed this."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while text not in self.output:
                line = await self.process.stdout.readline()
                assert line, f"it ended before saying {text!r}: {self.output}"
                self.output += line.decode()

    async def end(self) -> int:
        """Wait for its end; returns the exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_SECONDS):
            self.output += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def remaining(self) -> list[int]:
        """The processes that carry its mark."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if self._mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found


async def start(*arguments: str) -> Demo:
    mark = secrets.token_hex(8)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "demo", *arguments),
        env=os.environ | {MARK: mark},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=end_with(os.getpid()),
    )
    return Demo(process, mark)


@pytest.fixture
async def own_kafka() -> AsyncIterator[Demo]:
    demo = await start("--count", "500", "--keep")
    yield demo
    if demo.process.returncode is None:
        demo.process.kill()
        await demo.end()


async def test_it_prints_an_account_that_balances(bootstrap_servers: str) -> None:
    demo = await start("--count", "3000", "--bootstrap-servers", bootstrap_servers)
    assert await demo.end() == 0, demo.output
    (equation,) = re.findall(
        r"^produced 3,000 = delivered [\d,]+ \+ duplicates dropped \d+ \+ skipped \d+"
        r" \+ dead-lettered \d+$",
        demo.output,
        re.M,
    )
    assert equation
    assert "dead-lettered: refused" in demo.output
    (by_resource,) = re.findall(r"^delivered by resource: (.*)$", demo.output, re.M)
    assert set(re.findall(r"'(\w+)': [1-9]", by_resource)) == {
        "events",
        "revenue",
        "adrevenue",
        "ecommerce",
        "profiles",
    }
    assert re.search(r"'503': \d+", demo.output)
    assert "its time is $.at in milliseconds, sent as event_timestamp in seconds" in demo.output
    assert demo.remaining() == []


@pytest.mark.parametrize(
    "moment", ["Starting Apache Kafka", "Publishing", "Everything is still running"]
)
async def test_ctrl_c_leaves_no_process_behind(own_kafka: Demo, moment: str) -> None:
    await own_kafka.says(moment)
    assert len(own_kafka.remaining()) >= 1
    own_kafka.process.send_signal(signal.SIGINT)
    assert await own_kafka.end() == 130, own_kafka.output
    assert own_kafka.remaining() == []


async def test_not_even_a_kill_leaves_a_process_behind(own_kafka: Demo) -> None:
    await own_kafka.says("Everything is still running")
    # The demo, Kafka, the worker, Prometheus.
    assert len(own_kafka.remaining()) == 4
    (address,) = re.findall(
        r"^  Prometheus +(http://127\.0\.0\.1:\d+)/alerts$", own_kafka.output, re.M
    )
    assert await _alerts(address) >= ALERTS
    own_kafka.process.kill()
    await own_kafka.end()
    for _ in range(100):
        if not own_kafka.remaining():
            break
        await asyncio.sleep(0.05)
    assert own_kafka.remaining() == []


async def test_brokers_that_cannot_be_reached_are_reported_in_a_line() -> None:
    demo = await start("--bootstrap-servers", "127.0.0.1:1")
    assert await demo.end() == 69
    assert "127.0.0.1:1" in demo.output.splitlines()[-1]


async def _alerts(address: str) -> set[str]:
    """The alerts that a Prometheus evaluates."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{address}/api/v1/rules") as response,
    ):
        groups = (await response.json())["data"]["groups"]
    return {rule["name"] for group in groups for rule in group["rules"]}

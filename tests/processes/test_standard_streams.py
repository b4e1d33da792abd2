"""Standard error that nobody reads, or that is full or closed: the worker lives and stops."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from worker.sandbox.kafka import free_ports

# No test waits so long as long as the code is right.
HANGING_SECONDS = 60


@pytest.fixture
def stuck() -> Iterator[int]:
    """A pipe that is full, and that nobody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"-" * 4096)
    yield writer
    os.close(writer)
    os.close(reader)


def start(directory: Path, admin: int, error: int | str) -> subprocess.Popen[bytes]:
    """A worker whose brokers are away.

    `error` is the descriptor of its standard error, or a redirection of the shell.
    """
    config = directory / "config.yaml"
    config.write_text(
        f"""
        kafka: {{bootstrap_servers: "127.0.0.1:1"}}
        appmetrica: {{applications: {{"1111": {{post_api_key: a-key-that-nobody-sees}}}}}}
        admin: {{host: 127.0.0.1, port: {admin}}}
        """
    )
    command = [sys.executable, "-m", "worker", "run", "--config", str(config)]
    if isinstance(error, str):
        return subprocess.Popen(["/bin/sh", "-c", f'exec "$@" {error}', "sh", *command])
    return subprocess.Popen(command, stderr=error)


async def asked(admin: int, path: str, until: str) -> str:
    """What it answers, once that matches `until`."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as client:
        for _ in range(600):
            try:
                async with client.get(f"http://127.0.0.1:{admin}{path}") as response:
                    text = await response.text()
                    if re.search(until, text):
                        return text
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(f"{path} never held {until}")


async def test_a_log_that_nobody_reads_holds_up_neither_probes_nor_the_stop(
    tmp_path: Path, stuck: int
) -> None:
    (admin,) = free_ports(1)
    with start(tmp_path, admin, stuck) as process:
        try:
            await asked(admin, "/status", "kafka_not_reached")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, HANGING_SECONDS) == 0
        finally:
            process.kill()


async def test_a_log_on_a_full_disk_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    (admin,) = free_ports(1)
    with start(tmp_path, admin, "2>/dev/full") as process:
        try:
            await asked(admin, "/metrics", "appmetrica_worker_log_lines_dropped_total [1-9]")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, HANGING_SECONDS) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
async def test_no_connection_takes_the_place_of_a_closed_stream(
    tmp_path: Path, closed: str
) -> None:
    (admin,) = free_ports(1)
    with start(tmp_path, admin, closed) as process:
        try:
            await asked(admin, "/status", "kafka_not_reached")
            assert os.readlink(f"/proc/{process.pid}/fd/2") == os.devnull  # noqa: PTH115
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, HANGING_SECONDS) == 0
        finally:
            process.kill()


def test_what_can_not_be_said_keeps_its_exit_code(stuck: int) -> None:
    command = [sys.executable, "-m", "worker", "run", "--config", "/nonexistent"]
    assert (
        subprocess.run(command, stderr=stuck, timeout=HANGING_SECONDS, check=False).returncode == 78
    )


@pytest.mark.parametrize("error", ["2>/dev/full", "2>&-"])
def test_what_nobody_can_hear_keeps_its_exit_code(error: str) -> None:
    command = [sys.executable, "-m", "worker", "run", "--config", "/nonexistent"]
    shell = ["/bin/sh", "-c", f'exec "$@" {error}', "sh", *command]
    assert subprocess.run(shell, timeout=HANGING_SECONDS, check=False).returncode == 78


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", [["version"], ["schema", "config"]], ids=" ".join)
def test_a_tool_whose_output_can_not_be_written_says_so(
    arguments: list[str], unbuffered: str
) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [
        "/bin/sh",
        "-c",
        'exec "$@" >/dev/full',
        "sh",
        sys.executable,
        "-m",
        "worker",
        *arguments,
    ]
    ended = subprocess.run(
        command,
        stderr=subprocess.PIPE,
        text=True,
        timeout=HANGING_SECONDS,
        check=False,
        env=environment,
    )
    assert (ended.returncode, ended.stderr) == (69, "can't write: No space left on device\n")

"""The worker as a process of its own, through its public command line: what the demo and the tests
run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from worker.errors import UnavailableError
from worker.sandbox.process import start_process

READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the worker is told. `overrides` are merged over the configuration made of the rest."""

    bootstrap_servers: str
    base_url: str
    topic: str
    dead_letter_topic: str
    group_id: str
    keys: Mapping[int, str]
    admin_port: int
    overrides: Mapping[str, Any]


class WorkerProcess:
    """One worker. Its keys go through the environment, its log to a file in `directory`."""

    def __init__(self, directory: Path, name: str, options: WorkerOptions) -> None:
        self._options = options
        self._config_file = directory / f"{name}.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file = directory / f"{name}.log"

    @property
    def admin_url(self) -> str:
        """Where its metrics and its status are."""
        return f"http://127.0.0.1:{self._options.admin_port}"

    @property
    def pid(self) -> int:
        """Its process id; it must have been started."""
        if self._process is None:
            raise RuntimeError("the worker is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it, from the main thread; `await_ready` waits for it."""
        self._config_file.write_text(yaml.safe_dump(self._configuration()), encoding="utf-8")
        keys = {
            f"AMW_APPMETRICA__APPLICATIONS__{application}__POST_API_KEY": key
            for application, key in self._options.keys.items()
        }
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("AMW_")
        }
        command = [sys.executable, "-m", "worker", "run", "--config", str(self._config_file)]
        installed = Path(sys.executable).with_name("appmetrica-worker")
        if installed.exists():
            command = [str(installed), "run", "--config", str(self._config_file)]
        with self.log_file.open("ab") as log:
            self._process = start_process(command, log, inherited | keys)

    async def await_ready(self) -> None:
        """Wait until it says so.

        Raises:
            UnavailableError: it ended, or didn't become ready in time.
        """
        async with aiohttp.ClientSession() as session:
            for _ in range(round(READY_SECONDS_MAX / POLL_SECONDS)):
                if self._process is None or self._process.poll() is not None:
                    break
                try:
                    async with session.get(f"{self.admin_url}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
        raise UnavailableError(f"the worker did not become ready: {self.log_tail()}")

    async def status(self) -> dict[str, Any]:
        """What it says of itself."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin_url}/status") as response,
        ):
            status: dict[str, Any] = await response.json()
            return status

    async def metrics(self) -> str:
        """Its metrics, as scraped."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin_url}/metrics") as response,
        ):
            return await response.text()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def wait(self, timeout_seconds: float) -> int:
        """Wait for its end; returns the exit code.

        Raises:
            TimeoutError: it goes on.
        """
        for _ in range(round(timeout_seconds / POLL_SECONDS)):
            if self._process is None:
                raise RuntimeError("the worker was not started")
            code = self._process.poll()
            if code is not None:
                return code
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError(f"the worker still runs after {timeout_seconds} s: {self.log_tail()}")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of its log."""
        if not self.log_file.exists():
            return "it has logged nothing"
        return " | ".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _configuration(self) -> dict[str, Any]:
        options = self._options
        configuration: dict[str, Any] = {
            "kafka": {"bootstrap_servers": options.bootstrap_servers, "group_id": options.group_id},
            "routes": [{"topic": options.topic, "resource": "events"}],
            "appmetrica": {"base_url": options.base_url},
            "dead_letter": {"topic": options.dead_letter_topic},
            "admin": {"host": "127.0.0.1", "port": options.admin_port},
        }
        for section, values in options.overrides.items():
            configuration[section] = (
                configuration.get(section, {}) | values if isinstance(values, dict) else values
            )
        return configuration

"""Workers as processes: the installed command, each with a state directory and an API proxy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from verification.chaos.protocols import ApiProxy
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import start_process

READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05
KEYS = {1111: "key-of-the-first-application-7f3a", 2222: "key-of-the-second-application-91bc"}
IMBALANCE = "appmetrica_worker_accounting_imbalance_records"
CLIENT_ID_PREFIX = "appmetrica-worker-"
INSTANCE_ID_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that bounds are computed from."""

    commit_interval_seconds: float = 1.0
    requests_in_flight: int = 4
    rows_per_batch: int = 250
    drain_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Orders:
    """The options of every worker of a run. `mutant` switches a safeguard off."""

    servers: str
    topic: str
    dead_letter_topic: str
    limits: Limits
    overrides: Mapping[str, Any] = field(default_factory=dict)
    mutant: str | None = None

    def configuration(self, base_url: str, admin_port: int, state_dir: Path) -> dict[str, Any]:
        """The configuration file of one worker."""
        configuration: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": self.servers,
                "group_id": "chaos",
                "commit_interval_seconds": self.limits.commit_interval_seconds,
                # Short, in the order that the settings demand: a stopped member's session ends long
                # before it comes back.
                "session_timeout_seconds": 10,
                "request_timeout_seconds": 9,
                "rebalance_timeout_seconds": 8,
                "drain_on_revoke_seconds": 4,
                "commit_timeout_seconds": 3,
                "heartbeat_interval_seconds": 1,
            },
            "routes": [
                {
                    "topic": self.topic,
                    "resource": "events",
                    "select": {"$.application_id": [1111, 2222]},
                    "tombstones": "skip",
                }
            ],
            "appmetrica": {
                "base_url": base_url,
                "connect_timeout_seconds": 2,
                "read_timeout_seconds": 5,
                "total_timeout_seconds": 6,
            },
            "batching": {"rows_max": self.limits.rows_per_batch, "linger_seconds": 0.3},
            "delivery": {
                "requests_in_flight_max": self.limits.requests_in_flight,
                "backoff_max_seconds": 2,
                "hold_probe_seconds": 2,
            },
            "dead_letter": {"topic": self.dead_letter_topic},
            "shutdown": {"drain_seconds": self.limits.drain_seconds},
            "state_dir": str(state_dir),
            "admin": {"host": "127.0.0.1", "port": admin_port},
        }
        for section, values in self.overrides.items():
            configuration[section] = (
                configuration.get(section, {}) | values if isinstance(values, dict) else values
            )
        return configuration


class Member:
    """A worker, which is killed and started again under the same name."""

    def __init__(self, name: str, home: Path, proxy: ApiProxy, orders: Orders) -> None:
        self.name = name
        self.proxy = proxy
        self.log_file = home / f"{name}.log"
        self._orders = orders
        self._state_dir = home / f"{name}.state"
        self._state_dir.mkdir()
        self._config_file = home / f"{name}.json"
        self._admin_port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        # True while it must run: then an end by itself is a fault.
        self.is_wanted = False
        self.is_frozen = False

    @property
    def admin_url(self) -> str:
        """The URL of its admin port."""
        return f"http://127.0.0.1:{self._admin_port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def ended_with(self) -> int | None:
        """The exit code of a process that has ended; None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def is_living(self) -> bool:
        """True while its process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def client_id(self) -> str:
        """Its client id."""
        file = self._state_dir / "instance-id"
        return CLIENT_ID_PREFIX + file.read_text()[:INSTANCE_ID_CHARACTERS] if file.exists() else ""

    def start(self) -> None:
        """Start the process. Must be called from the main thread."""
        # JSON is YAML.
        configuration = self._orders.configuration(
            f"http://127.0.0.1:{self.proxy.port}", self._admin_port, self._state_dir
        )
        self._config_file.write_text(json.dumps(configuration))
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("AMW_")
        }
        keys = {
            f"AMW_APPMETRICA__APPLICATIONS__{number}__POST_API_KEY": key
            for number, key in KEYS.items()
        }
        with self.log_file.open("ab") as log:
            self._process = start_process(
                [*self._command(), "run", "--config", str(self._config_file)], log, inherited | keys
            )
        self.is_wanted = True

    def _command(self) -> Sequence[str]:
        if self._orders.mutant is not None:
            return (sys.executable, "-m", "verification.chaos.mutants", self._orders.mutant)
        return (str(Path(sys.executable).with_name("appmetrica-worker")),)

    def kill(self) -> None:
        """SIGKILL."""
        self.is_wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM; `wait` waits for the end."""
        self.is_wanted = False
        self._send(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.is_frozen = True
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)
        self.is_frozen = False

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def wait(self, timeout_seconds: float) -> int | None:
        """Wait for the process's end; returns the exit code, or None if it still runs."""
        for _ in range(round(timeout_seconds / POLL_SECONDS)):
            code = self.ended_with
            if code is not None:
                return code
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def await_ready(self) -> None:
        """Wait until the worker reports this, or has ended.

        Raises:
            TimeoutError: it runs and is not ready.
        """
        for _ in range(round(READY_SECONDS_MAX / POLL_SECONDS)):
            if not self.is_living or await self.answers("/readyz"):
                return
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError(
            f"{self.name} is not ready after {READY_SECONDS_MAX:g} s: {self.log_file}"
        )

    async def answers(self, path: str) -> bool:
        """True if the admin port answers 200 at this path."""
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self.admin_url + path) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def imbalance(self) -> float:
        """The number of records that its own account can't explain."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin_url}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(IMBALANCE))

    def resident_bytes(self) -> int:
        """The memory that is resident now, from /proc."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

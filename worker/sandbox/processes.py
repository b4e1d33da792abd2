"""Child processes that never outlive their parent: any command, and the worker itself.

The worker is run through its public command line, as the demo and the tests do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import aiohttp
import yaml

from worker.errors import UnavailableError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# On a busy machine a start takes minutes; its log grows all the while.
START_SECONDS_MAX = 300.0
SILENT_SECONDS_MAX = 60.0
PROBE_SECONDS_MAX = 5.0
POLL_SECONDS = 0.05


def start_process(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that writes its output to a file.

    It has a session of its own, so that Ctrl-C in a terminal reaches only the parent, which stops
    everything in order. On Linux the kernel kills it when the thread that started it ends, so that
    it does not survive a SIGKILL of the parent. Call this from the main thread: another thread may
    end earlier.
    """
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment) if environment is not None else None,
        start_new_session=True,
        preexec_fn=end_with(os.getpid()),
    )


def end_with(parent: int) -> Callable[[], None]:
    """A function that a child process calls first, so that it ends with its parent.

    It is for `preexec_fn`, or for the initializer of a pool. On Linux the kernel kills the child
    when the thread that started it ends; on other systems the function does nothing.
    """
    return partial(_end_with, parent)


def _end_with(parent: int) -> None:
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The parent ended before the call of prctl.
        os.kill(os.getpid(), signal.SIGKILL)


class StartWatch:
    """Says when to give up a start: when its log no longer grows, or after five minutes.

    Args:
        now: the time at which the process was started or first watched, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._grew = now
        self._log_bytes = 0

    def reason_to_give_up(self, now: float, log_bytes: int) -> str | None:
        """The reason, where there is one; the log has this size now."""
        if log_bytes != self._log_bytes:
            self._log_bytes, self._grew = log_bytes, now
        if now - self._began >= START_SECONDS_MAX:
            return f"not started after {START_SECONDS_MAX:g} s"
        if now - self._grew >= SILENT_SECONDS_MAX:
            return f"nothing new in its log for {SILENT_SECONDS_MAX:g} s"
        return None


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The configuration of a worker; `overrides` are merged over the other values.

    `wrapper` is a command that replaces itself by the worker's command, which follows it.
    """

    bootstrap_servers: str
    base_url: str
    topic: str
    dead_letter_topic: str
    group_id: str
    keys: Mapping[int, str]
    admin_port: int
    overrides: Mapping[str, Any]
    wrapper: tuple[str, ...] = ()


class WorkerProcess:
    """A worker. Its keys are environment variables; its log is a file in `directory`."""

    def __init__(self, directory: Path, name: str, options: WorkerOptions) -> None:
        self._options = options
        self._config_file = directory / f"{name}.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file = directory / f"{name}.log"

    @property
    def admin_url(self) -> str:
        """The URL of metrics and status."""
        return f"http://127.0.0.1:{self._options.admin_port}"

    @property
    def pid(self) -> int:
        """The process id of a started worker."""
        if self._process is None:
            raise RuntimeError("the worker is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the worker, from the main thread; `await_ready` waits for it."""
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
            self._process = start_process([*self._options.wrapper, *command], log, inherited | keys)

    async def await_ready(self) -> None:
        """Wait until the worker is ready.

        Raises:
            UnavailableError: it ended, its log stopped growing, or it took too long.
        """
        watch = StartWatch(time.monotonic())
        reason = None
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while reason is None:
                if self._process is None or self._process.poll() is not None:
                    reason = "the process ended"
                elif await self._is_ready(session):
                    return
                else:
                    await asyncio.sleep(POLL_SECONDS)
                    log_bytes = self.log_file.stat().st_size
                    reason = watch.reason_to_give_up(time.monotonic(), log_bytes)
        raise UnavailableError(f"the worker did not become ready, {reason}: {self.log_tail()}")

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.admin_url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientConnectionError, TimeoutError):
            return False

    async def status(self) -> dict[str, Any]:
        """The worker's status document."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin_url}/status") as response,
        ):
            status: dict[str, Any] = await response.json()
            return status

    async def metrics(self) -> str:
        """The worker's metrics, as scraped."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin_url}/metrics") as response,
        ):
            return await response.text()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def wait(self, timeout_seconds: float) -> int:
        """Wait for the end of the worker and return its exit code.

        Raises:
            TimeoutError: the worker still runs.
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
        """Kill the worker, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of the log."""
        if not self.log_file.exists():
            return "the log is empty"
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

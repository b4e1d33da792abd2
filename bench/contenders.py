"""Processes that are measured, and how one run of each is measured.

A run begins when the group has assigned the partitions, so that no start is counted. Its rate is
that of nine tenths of the rows: the last ones wait for the linger of their batch. CPU is that of
the whole process, until it is idle again: what follows the last answer, up to the last commit,
belongs to the events too.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from bench.events import APPLICATIONS
from bench.process_figures import cpu_seconds, peak_bytes, resident_bytes
from bench.receiver import Receiver
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import start_process

# What each contender writes when its partitions are assigned.
ASSIGNED = b"partitions_assigned"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
RUN_SECONDS_MAX = 3600.0
RATED_SHARE = 0.9
# The worker commits once a second.
IDLE_SECONDS, IDLE_CPU_SECONDS, IDLE_ROUNDS_MAX = 1.2, 0.05, 10


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run over `events` records. Memory is the peak of what was resident."""

    events: int
    seconds: float
    cpu_seconds: float
    peak_bytes: float

    @property
    def cpu_microseconds(self) -> float:
        """The CPU of an event."""
        return self.cpu_seconds / self.events * 1e6

    @property
    def events_per_second(self) -> float:
        """The rate by the wall clock."""
        return self.events / self.seconds


@dataclass(frozen=True, slots=True)
class Feed:
    """A filled topic: `rows` of its `events` records are to be accepted."""

    bootstrap_servers: str
    topic: str
    events: int
    rows: int


@dataclass(frozen=True, slots=True)
class Contender:
    """How a process is started. `{…}` of its command are filled in by `running`."""

    name: str
    command: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)


WORKER = Contender("worker", (sys.executable, "-m", "worker", "run", "--config", "{config}"))
PLAIN_LOOP = Contender(
    "plain loop",
    (sys.executable, "-m", "bench.plain_loop", "{servers}", "{topic}", "{group}", "{url}"),
)


def worker_with(**settings: Any) -> Contender:
    """The worker with these sections of its settings changed."""
    return Contender("worker", WORKER.command, settings)


def quix(python: str) -> Contender:
    """The Quix Streams loop, in the environment of this interpreter."""
    command = (python, "-m", "bench.quix_loop", "{servers}", "{topic}", "{group}", "{url}")
    return Contender("Quix Streams", command)


def observed_worker(file: Path) -> Contender:
    """The worker with its event loop observed."""
    observed = (sys.executable, "-m", "bench.observed_worker", str(file))
    return Contender("worker", (*observed, "run", "--config", "{config}"))


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that runs."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def await_assignment(self) -> None:
        """Wait until its partitions are assigned.

        Raises:
            TimeoutError: they are not, or it ended.
        """
        deadline = time.monotonic() + START_SECONDS_MAX
        while ASSIGNED not in self.log.read_bytes():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise TimeoutError(self.log.read_text(errors="replace")[-2000:])
            time.sleep(0.005)

    def await_idle(self) -> None:
        """Wait until it takes next to no CPU."""
        for _ in range(IDLE_ROUNDS_MAX):
            before = cpu_seconds(self.pid)
            time.sleep(IDLE_SECONDS)
            if cpu_seconds(self.pid) - before <= IDLE_CPU_SECONDS:
                return


@contextmanager
def running(
    contender: Contender, feed: Feed, base_url: str, group_id: str = ""
) -> Iterator[Running]:
    """Start a contender, and stop it at the end."""
    group = group_id or f"bench-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        config, log_file = Path(directory) / "config.yaml", Path(directory) / "log"
        config.write_text(
            yaml.safe_dump(_configuration(contender, feed, base_url, group)), encoding="utf-8"
        )
        filled = {
            "servers": feed.bootstrap_servers,
            "topic": feed.topic,
            "group": group,
            "url": base_url,
            "config": str(config),
        }
        command = [part.format(**filled) for part in contender.command]
        with log_file.open("ab") as log:
            process = start_process(command, log)
        try:
            yield Running(process, log_file)
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS_MAX)
        finally:
            process.kill()
            process.wait()


def measure(contender: Contender, feed: Feed, delay_seconds: float = 0.0) -> Run:
    """One run over a topic from its start to its end."""
    with Receiver(delay_seconds) as receiver, running(contender, feed, receiver.base_url) as one:
        one.await_assignment()
        began, cpu_before = time.time(), cpu_seconds(one.pid)
        most = receiver.wait_for(ceil(feed.rows * RATED_SHARE), RUN_SECONDS_MAX)
        receiver.wait_for(feed.rows, RUN_SECONDS_MAX)
        one.await_idle()
        cpu = cpu_seconds(one.pid) - cpu_before
        seconds = (most.last_unix - began) * feed.rows / most.rows
        return Run(feed.events, seconds, cpu, peak_bytes(one.pid))


def measure_floor(feed: Feed) -> Run:
    """One run of aiokafka alone."""
    command = (sys.executable, "-m", "bench.floor", feed.bootstrap_servers, feed.topic)
    result = subprocess.run(
        (*command, str(feed.events)), check=True, capture_output=True, timeout=RUN_SECONDS_MAX
    )
    return Run(feed.events, **json.loads(result.stdout))


def memory_over(
    one: Running, receiver: Receiver, rows: int, every_seconds: float
) -> Iterator[tuple[float, float, int]]:
    """Seconds since the start, resident bytes and rows accepted, until all rows are accepted."""
    started = time.monotonic()
    while time.monotonic() - started < RUN_SECONDS_MAX:
        accepted = receiver.accepted().rows
        yield time.monotonic() - started, resident_bytes(one.pid), accepted
        if accepted >= rows:
            return
        time.sleep(every_seconds)


def _configuration(
    contender: Contender, feed: Feed, base_url: str, group_id: str
) -> dict[str, Any]:
    applications = contender.settings.get("applications", APPLICATIONS)
    keys = {str(number): {"post_api_key": f"bench-key-{number}"} for number in applications}
    configuration: dict[str, Any] = {
        "kafka": {"bootstrap_servers": feed.bootstrap_servers, "group_id": group_id},
        "routes": [{"topic": feed.topic, "resource": contender.settings.get("resource", "events")}],
        "appmetrica": {"base_url": base_url, "applications": keys},
        "dead_letter": {"topic": f"{feed.topic}.dlq"},
        "admin": {"host": "127.0.0.1", "port": free_ports(1)[0]},
    }
    for section, values in contender.settings.items():
        if section not in ("applications", "resource"):
            configuration[section] = configuration.get(section, {}) | values
    return configuration

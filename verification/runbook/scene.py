"""What a scene has: a worker with its topics, faults to make, and the commands of a section."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.stage import KEYS, Stage
from verification.runbook.page import commands
from verification.runbook.shell import Shell
from worker.sandbox.kafka import KafkaCluster, Listener
from worker.sandbox.processes import WorkerProcess
from worker.sandbox.topics import Published, create_topics, publish

WAIT_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.5
UNAVAILABLE = 69
KEY_FOLDER = "/etc/appmetrica-worker/keys"


class SceneFailedError(Exception):
    """A fault, a command or a fix did not do what the runbook says."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a command has to print, as a regular expression, and how it may end."""

    output: str
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class NotHere:
    """A command that can't be run on this machine, and why."""

    reason: str


NO_CLUSTER = NotHere("there is no cluster on this machine")


@dataclass
class Scene:
    """A worker and everything around it; its methods are used by the scripts of scenes.

    `proxied` is the listener of the brokers that is advertised with the port of a proxy.
    """

    stage: Stage
    kafka: KafkaCluster
    proxied: Listener
    directory: Path
    say: Callable[[str], None]
    keys: Mapping[int, str] = field(default_factory=lambda: KEYS)

    @property
    def worker(self) -> WorkerProcess:
        """The newest worker."""
        return self.stage.workers[-1]

    @property
    def parking_topic(self) -> str:
        """The parking topic of the only route."""
        return f"{self.stage.topic}.parked"

    async def start(self, overrides: Mapping[str, Any] | None = None) -> None:
        """Create the parking topic and start a worker."""
        if not self.stage.workers:
            await create_topics(self.stage.bootstrap_servers, {self.parking_topic: 1})
        await self.stage.start_worker({"delivery": QUICK_DELIVERY, **(overrides or {})}, self.keys)

    async def stop(self) -> None:
        """Stop the newest worker in order."""
        self.worker.send(signal.SIGTERM)
        await self.worker.wait(STOP_SECONDS_MAX)

    async def publish(self, *events: Mapping[str, Any]) -> None:
        """Publish events as JSON."""
        records = [Published(b"key", json.dumps(one).encode()) for one in events]
        await publish(self.stage.bootstrap_servers, self.stage.topic, records)

    async def until(self, what: str, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until the worker's status is as described; returns it.

        Raises:
            SceneFailedError: it did not come to this in time.
        """
        status: dict[str, Any] = {}
        for _ in range(round(WAIT_SECONDS_MAX / POLL_SECONDS)):
            # A worker that has just been started doesn't answer yet.
            with suppress(aiohttp.ClientConnectionError, IndexError):
                status = await self.worker.status()
                if holds(status):
                    self.say(f"  {what}")
                    return status
            await asyncio.sleep(POLL_SECONDS)
        raise SceneFailedError(f"not seen: {what}; the status is {json.dumps(status)}")

    async def metric(self, name: str) -> list[float]:
        """The values of a metric in a scrape."""
        page = await self.worker.metrics()
        found = re.findall(rf"^appmetrica_worker_{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE)
        return [float(value) for value in found]

    async def until_metric(self, name: str, value: float) -> None:
        """Wait until a metric has only this value.

        Raises:
            SceneFailedError: it did not come to this in time.
        """
        found: list[float] = []
        for _ in range(round(WAIT_SECONDS_MAX / POLL_SECONDS)):
            found = await self.metric(name)
            if found == [value]:
                self.say(f"  {name} is {value:g}")
                return
            await asyncio.sleep(POLL_SECONDS)
        raise SceneFailedError(f"{name} is {found} instead of {value:g}")

    async def run(
        self, heading: str, *expected: Expected | NotHere, topic: str | None = None
    ) -> None:
        """Run the commands of a section.

        Raises:
            SceneFailedError: a command ended otherwise, or did not print what it should.
        """
        shell = self.shell(topic or self.stage.topic)
        written = commands()[heading]
        if len(written) != len(expected):
            raise SceneFailedError(f"{heading}: {len(written)} commands, {len(expected)} expected")
        for command, one in zip(written, expected, strict=True):
            match one:
                case NotHere():
                    self.say(f"  - {command}: {one.reason}")
                case Expected():
                    await self._run(shell, command, one)

    async def _run(self, shell: Shell, command: str, expected: Expected) -> None:
        began = time.monotonic()
        result = await shell.run(command)
        seconds = time.monotonic() - began
        if result.code not in expected.codes or not re.search(expected.output, result.output):
            raise SceneFailedError(
                f"{command}: exit code {result.code} (expected {expected.codes}), expected "
                f"/{expected.output}/ in: {result.output[-3000:]}"
            )
        self.say(f"  $ {command}  [{result.code}, {seconds:.1f} s]")

    def shell(self, topic: str) -> Shell:
        """A shell for the newest worker."""
        worker = self.worker
        keys = {
            f"AMW_APPMETRICA__APPLICATIONS__{application}__POST_API_KEY": key
            for application, key in self.keys.items()
        }
        variables = {
            **keys,
            "ADMIN": worker.admin_url,
            "AMW_CONFIG": str(worker.log_file.with_suffix(".yaml")),
            "WORKER_LOG": str(worker.log_file),
        }
        names = {
            "BROKER": self.stage.bootstrap_servers,
            "TOPIC": topic,
            "GROUP": self.stage.topic,
            KEY_FOLDER: str(self.directory),
        }
        return Shell(self.directory, variables, names, self.stage.wrapper)

    async def fix(self, command: str) -> None:
        """Run a command that the text of a fix names.

        Raises:
            SceneFailedError: it failed.
        """
        result = await self.shell(self.stage.topic).run(command)
        if result.code != 0:
            raise SceneFailedError(f"{command}: exit code {result.code}: {result.output[-2000:]}")
        self.say(f"  fixed by: {command}")


QUICK_DELIVERY = {"hold_probe_seconds": 1, "backoff_max_seconds": 2}


def events(count: int, *, age_seconds: float = 60, **more: Any) -> Sequence[dict[str, Any]]:
    """Valid events of the first application, all different."""
    now = time.time()
    return [
        {
            "application_id": 1111,
            "profile_id": f"user-{number}",
            "event_name": "film_watched",
            "event_timestamp": int(now - age_seconds) - number,
            **more,
        }
        for number in range(count)
    ]

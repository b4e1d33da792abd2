"""The stage of a run: brokers, API, workers and producer as processes or tasks, and the phases."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from verification.chaos.checker import Evidence, Fault, Phase, Verdict, check
from verification.chaos.cluster import Brokers, Topics
from verification.chaos.evidence import await_no_lag, read_dead_lettered, read_ledger, read_produced
from verification.chaos.members import KEYS, Limits, Member, Orders
from verification.chaos.producer import REFUSED_NAME, Mill, Producer
from verification.chaos.protocols import ApiProxy
from verification.chaos.traps import Traps
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import start_process
from worker.sandbox.topics import create_topics

PARTITIONS = 6
WATCH_SECONDS = 0.2
LAG_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 30.0
# How a worker may end after SIGTERM beside faults: all is settled, records are left, it was still
# starting, or it was killed while it stopped.
ENDS = frozenset({0, 75, 128 + signal.SIGTERM, -signal.SIGKILL})
API_LATENCY_SECONDS = 0.02
# On top of the commit interval: how long a commit may take without load.
COMMIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Script:
    """The parameters of a run."""

    seed: int
    records_per_second: float = 1000.0
    noise_characters: int = 120
    members: int = 3
    limits: Limits = field(default_factory=Limits)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    mutant: str | None = None


class Stage:
    """The processes of a run, and the faults that are applied to them."""

    def __init__(self, script: Script, home: Path, console: Console) -> None:
        self.script = script
        self.home = home
        self.console = console
        self.chance = random.Random(script.seed)
        self.topics = Topics()
        self.traps = Traps()
        self.brokers = Brokers(self.traps)
        self.members: list[Member] = []
        self.phases: list[Phase] = []
        self._emulator: subprocess.Popen[bytes] | None = None
        self._api_port = free_ports(1)[0]
        self._producer: Producer | None = None

    @property
    def api_url(self) -> str:
        """The URL of the emulator, without the proxies."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def producer(self) -> Producer:
        """The producer; started."""
        if self._producer is None:
            raise RuntimeError("the stage is not set")
        return self._producer

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self.phases[-1]

    @property
    def regulars(self) -> list[Member]:
        """The workers of the whole run; the others are guests."""
        return self.members[: self.script.members]

    async def pause(self, low: float, high: float) -> None:
        """Wait for a random time between these bounds, in seconds."""
        await asyncio.sleep(self.chance.uniform(low, high))

    # --- phases -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def during(
        self, name: str, lag_seconds_max: float = LAG_SECONDS_MAX
    ) -> AsyncIterator[Phase]:
        """Run a phase: records are published; at its end only a few, until there is no lag."""
        phase = Phase(f"{len(self.phases)}", name, time.time())
        self.phases.append(phase)
        self.producer.phase = phase.key.encode()
        self.producer.is_on.set()
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {name}", highlight=False)
        yield phase
        await self.producer.rest()
        topics = (self.topics.events, self.topics.parked)
        phase.lag_seconds = await await_no_lag(
            self.brokers.direct_servers, topics, lag_seconds_max, self.producer.publish
        )
        await self.producer.rest()
        for member in self.regulars:
            imbalance = await member.imbalance()
            if imbalance:
                phase.complaints.append(f"{member.name} can't explain {imbalance:g} records itself")

    def note_kill(self, commit_seconds: float = COMMIT_SECONDS) -> None:
        """Count a kill -9.

        Rows accepted since the last commit, and rows in flight, may be sent again.
        """
        limits = self.script.limits
        window = limits.commit_interval_seconds + commit_seconds
        self.phase.faults.append(
            Fault(time.time(), window, limits.requests_in_flight * limits.rows_per_batch)
        )

    def note_ambiguous(self, answers: int) -> None:
        """Note this many lost answers: a batch each may be sent again."""
        self.phase.faults.append(
            Fault(time.time(), rows=answers * self.script.limits.rows_per_batch)
        )

    def answers_withheld(self) -> int:
        """The requests so far that reached the API and whose answer was lost."""
        return sum(member.proxy.answers_withheld for member in self.members)

    async def check(self) -> list[Verdict]:
        """Compare the records of the topics with the emulator's ledger."""
        servers = self.brokers.direct_servers
        produced = await read_produced(servers, self.topics.events)
        dead_lettered = await read_dead_lettered(servers, self.topics.dead_letters)
        return check(
            self.phases, Evidence(produced, dead_lettered, await read_ledger(self.api_url))
        )

    # --- workers ----------------------------------------------------------------------------------

    async def new_member(self) -> Member:
        """Add a worker that is not started yet."""
        proxy = ApiProxy(self.traps, f"worker-{len(self.members) + 1}")
        await proxy.open()
        proxy.upstream_port = self._api_port
        proxy.latency_seconds = API_LATENCY_SECONDS
        script = self.script
        orders = Orders(
            self.brokers.servers,
            self.topics.events,
            self.topics.dead_letters,
            script.limits,
            script.overrides,
            script.mutant,
        )
        member = Member(f"worker-{len(self.members) + 1}", self.home, proxy, orders)
        self.members.append(member)
        return member

    async def await_end(self, member: Member) -> None:
        """Wait for the end of a worker that was asked to stop, and check it; records may be left.

        A trap may kill it while it stops.
        """
        code = await member.wait(STOP_SECONDS_MAX)
        if code is None:
            self.phase.complaints.append(
                f"{member.name} runs {STOP_SECONDS_MAX:g} s after SIGTERM: {member.log_file}"
            )
            member.kill()
        elif code not in ENDS:
            self.phase.complaints.append(
                f"{member.name} ended with {code} after SIGTERM: {member.log_file}"
            )

    async def watch(self) -> None:
        """Note each worker that ends by itself as a fault, and start it again."""
        while True:
            for member in self.members:
                if member.is_wanted and member.ended_with is not None:
                    self.phase.complaints.append(
                        f"{member.name} ended by itself with {member.ended_with}: {member.log_file}"
                    )
                    member.start()
            await asyncio.sleep(WATCH_SECONDS)

    async def plan(self, *faults: Mapping[str, Any]) -> None:
        """Let the API fail like this."""
        await self._put("faults", list(faults))

    async def _put(self, what: str, value: object) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self.api_url}/_emulator/{what}", json=value) as response,
        ):
            response.raise_for_status()

    # --- setting and clearing ---------------------------------------------------------------------

    async def set(self) -> None:
        """Start everything, the workers last."""
        await self.brokers.start()
        self._start_emulator()
        topics = self.topics
        await create_topics(
            self.brokers.direct_servers,
            {topics.events: PARTITIONS, topics.dead_letters: 2, topics.parked: PARTITIONS},
        )
        await self._await_emulator()
        await self._put("refused", {"event_name": [REFUSED_NAME]})
        mill = Mill(self.script.seed, self.script.noise_characters)
        self._producer = Producer(
            self.brokers.direct_servers, topics.events, mill, self.script.records_per_second
        )
        for _ in range(self.script.members):
            (await self.new_member()).start()
        for member in self.members:
            await member.await_ready()

    def _start_emulator(self) -> None:
        keys = [f"--application={number}={key}" for number, key in KEYS.items()]
        command = [
            str(Path(sys.executable).with_name("appmetrica-worker")),
            "sandbox",
            f"--port={self._api_port}",
            *keys,
        ]
        with (self.home / "api.log").open("ab") as log:
            self._emulator = start_process(command, log)

    async def _await_emulator(self) -> None:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{self.api_url}/_emulator/ledger"):
                        return
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.1)

    async def clear(self) -> None:
        """End all processes and tasks."""
        for member in self.members:
            member.thaw()
            member.kill()
            await member.proxy.close()
        if self._producer is not None:
            await self._producer.close()
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()
        await self.brokers.stop()


@asynccontextmanager
async def on_stage(script: Script, home: Path, console: Console) -> AsyncIterator[Stage]:
    """Set the stage, let the producer and the watch run, and clear it."""
    stage = Stage(script, home, console)
    tasks: list[asyncio.Task[None]] = []
    try:
        await stage.set()
        tasks = [
            asyncio.create_task(stage.producer.run(), name="producer"),
            asyncio.create_task(stage.watch(), name="watch"),
        ]
        yield stage
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await stage.clear()

"""A stage for the whole job: real Kafka, the strict emulator, workers as processes of their own."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import WorkerOptions, WorkerProcess
from worker.sandbox.reconciliation import Reconciliation, reconcile
from worker.sandbox.samples import REFUSED_EVENT_NAME, Sample, SampleOptions, samples
from worker.sandbox.topics import committed_lag, create_topics, publish, read_all

KEYS = {1111: "key-of-the-first-application-7f3a", 2222: "key-of-the-second-application-91bc"}
PARTITIONS = 4
SETTLE_SECONDS_MAX = 90.0

# Short times, in the order that the settings demand, so that a killed member's session ends soon.
QUICK_GROUP = {
    "session_timeout_seconds": 10,
    "request_timeout_seconds": 9,
    "rebalance_timeout_seconds": 8,
    "drain_on_revoke_seconds": 4,
    "commit_timeout_seconds": 3,
    "heartbeat_interval_seconds": 1,
}


class Stage:
    """One topic, one group, one emulator; any number of workers.

    `wrapper` is for the workers that are started next: see `WorkerOptions`.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, emulator: Emulator, directory: Path
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self.dead_letter_topic = f"{topic}.dlq"
        self.emulator = emulator
        self.directory = directory
        self.workers: list[WorkerProcess] = []
        self.produced: list[Sample] = []
        self.wrapper: tuple[str, ...] = ()

    async def publish(self, produced: Sequence[Sample]) -> None:
        """Publish these, behind what was published before."""
        self.produced.extend(produced)
        await publish(
            self.bootstrap_servers, self.topic, ((sample.key, sample.value) for sample in produced)
        )

    async def start_worker(
        self, overrides: Mapping[str, Any] | None = None, keys: Mapping[int, str] | None = None
    ) -> WorkerProcess:
        """Start one more worker and wait until it is ready."""
        worker = WorkerProcess(
            self.directory,
            f"worker-{len(self.workers) + 1}",
            WorkerOptions(
                bootstrap_servers=self.bootstrap_servers,
                base_url=self.emulator.base_url,
                topic=self.topic,
                dead_letter_topic=self.dead_letter_topic,
                group_id=self.topic,
                keys=KEYS if keys is None else keys,
                admin_port=free_ports(1)[0],
                overrides={
                    "kafka": QUICK_GROUP,
                    "batching": {"rows_max": 500},
                    **(overrides or {}),
                },
                wrapper=self.wrapper,
            ),
        )
        self.workers.append(worker)
        worker.start()
        await worker.await_ready()
        return worker

    async def await_rows(self, count: int) -> None:
        """Wait until the emulator has accepted this many rows."""
        await self.emulator.ledger.wait_for(
            lambda ledger: ledger.rows_total >= count, SETTLE_SECONDS_MAX
        )

    async def await_settled(self, topic: str | None = None) -> None:
        """Wait until the group has committed to the end of the topic (the stage's own if None)."""
        lag = -1
        for _ in range(round(SETTLE_SECONDS_MAX / 0.25)):
            lag = await committed_lag(self.bootstrap_servers, self.topic, topic or self.topic)
            if lag == 0:
                return
            await asyncio.sleep(0.25)
        raise TimeoutError(
            f"lag {lag} after {SETTLE_SECONDS_MAX} s: "
            f"{[worker.log_tail() for worker in self.workers]}"
        )

    async def duplicates_dropped(self) -> int:
        """As the workers that still run say."""
        total = 0
        for worker in self.workers:
            status = await worker.status()
            total += sum(int(topic["duplicates"]) for topic in status["topics"].values())
        return total

    async def reconcile(self, duplicates_dropped: int) -> Reconciliation:
        """The account from outside."""
        dead_letters = await read_all(self.bootstrap_servers, self.dead_letter_topic)
        return reconcile(self.produced, self.emulator.ledger.rows, dead_letters, duplicates_dropped)


def mixed(count: int, *, seed: int = 1, has_refused: bool = True) -> list[Sample]:
    """Valid, duplicate and invalid samples of two applications."""
    options = SampleOptions(
        count, int(time.time()), (1111, 2222), seed=seed, has_refused=has_refused
    )
    return list(samples(options))


def event(number: int, name: str = "film_watched", application: int = 1111) -> bytes:
    """The value of a valid event, without an id; its number is in `event_json`."""
    return orjson.dumps(
        {
            "application_id": application,
            "profile_id": f"user-{number}",
            "event_name": name,
            "event_timestamp": int(time.time()) - 60,
            "event_json": {"event_number": number},
        }
    )


def peak_bytes(pid: int) -> int:
    """The most memory that was resident at once."""
    status = Path(f"/proc/{pid}/status").read_text()
    return (
        int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
        * 1024
    )


@asynccontextmanager
async def on_stage(bootstrap_servers: str, topic: str, directory: Path) -> AsyncIterator[Stage]:
    """Set the stage, and clear it: no worker stays behind."""
    options = EmulatorOptions(keys=KEYS, refused={"event_name": frozenset({REFUSED_EVENT_NAME})})
    async with Emulator(options) as emulator:
        stage = Stage(bootstrap_servers, topic, emulator, directory)
        await create_topics(
            bootstrap_servers, {stage.topic: PARTITIONS, stage.dead_letter_topic: 1}
        )
        try:
            yield stage
        finally:
            for worker in stage.workers:
                worker.send(signal.SIGCONT)
                worker.kill()


@asynccontextmanager
async def meanwhile(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run this work beside the block, and cancel it at the block's end."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work(), name="meanwhile")
        try:
            yield
        finally:
            task.cancel()

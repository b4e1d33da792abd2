"""Four runs of real workers side by side, scraped by a real Prometheus: health, and three faults.

Each run has a topic, a group and an emulator of its own; its name is the job in Prometheus.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.e2e.stage import KEYS, PARTITIONS, Stage, mixed, on_stage
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.prometheus import PrometheusOptions, PrometheusServer
from worker.sandbox.topics import create_topics, started

# Seconds since the start of the runs.
FAULT, RECOVERY, END = 15.0, 45.0, 65.0
RECORDS_PER_SECOND = 80
SLICES_PER_SECOND = 4
SCRAPE_SECONDS = 1
LATE = 2222
# So small that records of a held application are parked within the run.
OVERRIDES: dict[str, Any] = {
    "batching": {"rows_max": 40, "linger_seconds": 0.5},
    "delivery": {"hold_probe_seconds": 2, "backoff_max_seconds": 3, "requests_in_flight_max": 4},
    "limits": {"span_records_max": 200},
    # Records without this header are counted.
    "dedup": {"key_header": "event-id"},
}


@dataclass(frozen=True, slots=True)
class Watched:
    """What is left of the runs: a Prometheus with their series, and when each moment was.

    Attributes:
        url: of the Prometheus, which runs until the context ends.
        began, recovery, ended: Unix seconds.
    """

    url: str
    began: float
    recovery: float
    ended: float


Change = Callable[[Stage], Coroutine[Any, Any, None]]


async def _nothing(stage: Stage) -> None:
    """A healthy run."""


async def _break_key(stage: Stage) -> None:
    stage.emulator.set_keys({**KEYS, LATE: "another-key-that-the-worker-does-not-have"})


async def _restore_key(stage: Stage) -> None:
    stage.emulator.set_keys(KEYS)


async def _fail(stage: Stage) -> None:
    """Lose an answer, throttle, then fail until the recovery."""
    stage.emulator.plan(
        PlannedFault(FaultKind.ACCEPT_THEN_DROP, count=2),
        PlannedFault(FaultKind.STATUS, status=429, retry_after="3", application_id=LATE, count=2),
        PlannedFault(FaultKind.STATUS, status=503),
    )


async def _work(stage: Stage) -> None:
    stage.emulator.plan()


async def _kill(stage: Stage) -> None:
    stage.workers[1].kill()


async def _replace(stage: Stage) -> None:
    await stage.start_worker(OVERRIDES)


# By run: the number of workers, what changes at the fault, and what at the recovery.
RUNS: dict[str, tuple[int, Change, Change]] = {
    "healthy": (1, _nothing, _nothing),
    "hold": (1, _break_key, _restore_key),
    "outage": (1, _fail, _work),
    "rebalance": (2, _kill, _replace),
}


@asynccontextmanager
async def watched(
    bootstrap_servers: str, directory: Path, new_topic: Callable[[str], str]
) -> AsyncIterator[Watched]:
    """Play all runs, and keep Prometheus until the context ends."""
    prometheus = PrometheusServer(PrometheusOptions(directory, SCRAPE_SECONDS))
    async with AsyncExitStack() as stack:
        stages: dict[str, Stage] = {}
        for name, (workers, _, _) in RUNS.items():
            folder = directory / name
            folder.mkdir()
            stage = await stack.enter_async_context(
                on_stage(bootstrap_servers, new_topic(name), folder)
            )
            await create_topics(bootstrap_servers, {f"{stage.topic}.parked": PARTITIONS})
            for _ in range(workers):
                await stage.start_worker(OVERRIDES)
            stages[name] = stage
        _scrape(prometheus, stages)
        stack.callback(prometheus.kill)
        await prometheus.start()
        began = time.time()
        async with asyncio.TaskGroup() as group:
            for name, stage in stages.items():
                group.create_task(_play(stage, *RUNS[name][1:]), name=name)
                group.create_task(_produce(stage), name=f"producer of {name}")
            group.create_task(_scrape_newcomers(prometheus, stages), name="targets")
        yield Watched(prometheus.url, began, began + RECOVERY, time.time())


def _scrape(prometheus: PrometheusServer, stages: dict[str, Stage]) -> None:
    prometheus.scrape(
        {name: [one.admin_url for one in stage.workers] for name, stage in stages.items()}
    )


async def _scrape_newcomers(prometheus: PrometheusServer, stages: dict[str, Stage]) -> None:
    for _ in range(round(END)):
        await asyncio.sleep(1)
        _scrape(prometheus, stages)


async def _play(stage: Stage, fault: Change, recovery: Change) -> None:
    await asyncio.sleep(FAULT)
    await fault(stage)
    await asyncio.sleep(RECOVERY - FAULT)
    await recovery(stage)
    await asyncio.sleep(END - RECOVERY)


async def _produce(stage: Stage) -> None:
    """Publish samples at a steady rate, and few of them at the end, so that lag can end."""
    slices = round((END - 5) * SLICES_PER_SECOND)
    size = RECORDS_PER_SECOND // SLICES_PER_SECOND
    records = mixed(slices * size)
    producer = AIOKafkaProducer(bootstrap_servers=stage.bootstrap_servers, acks="all")
    async with started(producer):
        for number in range(slices):
            part = [(one.key, one.value, one.headers) for one in records[number * size :][:size]]
            await _send(producer, stage.topic, [*part, (b"unusual", _unusual(number), ())])
            await asyncio.sleep(1 / SLICES_PER_SECOND)


def _unusual(number: int) -> bytes:
    """A valid event with a value that the API's documentation does not list."""
    event = {
        "application_id": 1111,
        "profile_id": f"user-{number}",
        "event_name": "film_watched",
        "event_timestamp": int(time.time()),
        "connection_type": "satellite",
    }
    return json.dumps(event).encode()


Record = tuple[bytes, bytes, Sequence[tuple[str, bytes]]]


async def _send(producer: AIOKafkaProducer, topic: str, records: Sequence[Record]) -> None:
    sent = [
        await producer.send(topic, key=key, value=value, headers=headers)
        for key, value, headers in records
    ]
    await asyncio.gather(*sent)

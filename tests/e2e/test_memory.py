"""Memory in an outage at full load: bounded by the setting, whatever the number of partitions."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.e2e.stage import KEYS, Stage, peak_bytes
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.processes import WorkerProcess
from worker.sandbox.topics import create_topics, publish

MEMORY_BYTES_MAX = 32 * 1024 * 1024
# The interpreter with all its modules, and what the allocator keeps.
ALLOWANCE_BYTES = 96 * 1024 * 1024
EVENTS = 50_000
OUTAGE_LOOKS = 20


def events() -> Iterator[tuple[bytes, bytes]]:
    """Events of 1.5 KB that compress badly: the client's buffers are as full as they get."""
    now = int(time.time())
    noise = secrets.token_urlsafe(2_000_000)
    for number in range(EVENTS):
        start = number * 13 % 2_000_000
        event = {
            "application_id": 1111,
            "profile_id": f"user-{number}",
            "event_name": "film_watched",
            "event_timestamp": now - 60,
            "event_json": {"event_number": number, "noise": noise[start : start + 1300]},
        }
        yield str(number).encode(), orjson.dumps(event)


async def until_all_is_paused(worker: WorkerProcess, partitions: int) -> None:
    """The outage has filled what there is: every partition is ours, and none is received of."""
    found: list[dict[str, object]] = []
    for _ in range(600):
        found = (await worker.status())["partitions"]
        # One more is the parking topic's.
        if len(found) == partitions + 1 and all(one["is_paused"] for one in found):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(
        f"{len(found)} partitions, {sum(bool(one['is_paused']) for one in found)} of them paused"
    )


@pytest.mark.parametrize("partitions", [6, 60])
async def test_an_outage_at_full_load_takes_no_more_memory_than_is_set(
    bootstrap_servers: str,
    new_topic: Callable[[str], str],
    tmp_path: Path,
    partitions: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = new_topic("memory")
    await create_topics(
        bootstrap_servers, {topic: partitions, f"{topic}.dlq": 1, f"{topic}.parked": 1}
    )
    await publish(bootstrap_servers, topic, events())
    async with Emulator(EmulatorOptions(keys=KEYS)) as emulator:
        emulator.plan(PlannedFault(FaultKind.STATUS, status=503))
        stage = Stage(bootstrap_servers, topic, emulator, tmp_path)
        limits = {"memory_bytes_max": MEMORY_BYTES_MAX}
        worker = await stage.start_worker(
            # Bodies of 3 MB: eight of them in flight are a good part of so small a memory, and an
            # ordinary one of a larger.
            {"limits": limits, "kafka": {}, "batching": {"rows_max": 2000}}
        )
        try:
            await until_all_is_paused(worker, partitions)
            held = 0
            for _ in range(OUTAGE_LOOKS):
                held = max(held, int((await worker.status())["held_bytes"]))
                await asyncio.sleep(0.25)
            peak = peak_bytes(worker.pid)
            assert held >= MEMORY_BYTES_MAX // 2
            with capsys.disabled():
                sys.stdout.write(
                    f"\n  {partitions} partitions: held {held >> 20} MiB, resident at most "
                    f"{peak >> 20} MiB\n"
                )
            assert peak <= MEMORY_BYTES_MAX + ALLOWANCE_BYTES
        finally:
            worker.kill()

"""Measures the worker against the floor, in one run on one topic, and writes RESULTS.md.

    python -m bench [--events 500000] [--rounds 3] [--output bench/RESULTS.md]

Rounds take turns, so that a noisy machine disturbs all alike; the figures are medians, the ratio is
to the same run's floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import orjson

from bench.process_figures import cpu_seconds, peak_bytes
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.kafka import KafkaCluster, free_ports
from worker.sandbox.processes import WorkerOptions, WorkerProcess
from worker.sandbox.topics import create_topics, publish

KEYS = {1111: "bench-key"}
PARTITIONS = 6
DELAYS_SECONDS = (0.0, 0.05)
RUN_SECONDS_MAX = 300.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One measured run. Wall and CPU in seconds, memory in bytes (the peak, resident)."""

    wall_seconds: float
    cpu_seconds: float
    rss_bytes: float


def events(count: int, now: int) -> list[tuple[bytes, bytes]]:
    """Realistic events of about 300 B, all different."""
    return [
        (
            str(number).encode(),
            orjson.dumps(
                {
                    "application_id": 1111,
                    "profile_id": f"user-{number % 50_000}",
                    "event_name": "film_watched",
                    "event_timestamp": now - number % 86_400,
                    "event_json": {
                        "film": "Solaris",
                        "minutes": number % 180,
                        "quality": "4K",
                        "event_number": number,
                    },
                    "session_type": "background",
                    "os_name": "android",
                    "os_version": "14",
                    "device_manufacturer": "Samsung",
                    "device_model": "QE55Q80",
                    "device_locale": "ru_RU",
                    "app_version_name": "4.1.0",
                }
            ),
        )
        for number in range(count)
    ]


async def measure_floor(bootstrap_servers: str, topic: str, count: int) -> Figures:
    """Measure aiokafka alone, in a process of its own."""
    command = (sys.executable, "-m", "bench.floor", bootstrap_servers, topic, str(count))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(RUN_SECONDS_MAX):
        output, _ = await process.communicate()
    return Figures(**json.loads(output))


async def measure_worker(
    bootstrap_servers: str, topic: str, count: int, delay_seconds: float
) -> Figures:
    """The whole worker with every guarantee on, from its start to the last row."""
    options = EmulatorOptions(keys=KEYS, is_thorough=False, delay_seconds=delay_seconds)
    with tempfile.TemporaryDirectory() as directory:
        async with Emulator(options) as receiver:
            worker = WorkerProcess(
                Path(directory),
                "worker",
                WorkerOptions(
                    bootstrap_servers=bootstrap_servers,
                    base_url=receiver.base_url,
                    topic=topic,
                    dead_letter_topic=f"{topic}.dlq",
                    group_id=f"bench-{secrets.token_hex(4)}",
                    keys=KEYS,
                    admin_port=free_ports(1)[0],
                    overrides={},
                ),
            )
            worker.start()
            try:
                await receiver.ledger.wait_for(
                    lambda ledger: ledger.requests_total > 0, RUN_SECONDS_MAX
                )
                first = receiver.ledger.requests[0]
                began, cpu_before = first.unix_seconds, cpu_seconds(worker.pid)
                await receiver.ledger.wait_for(
                    lambda ledger: ledger.rows_total >= count, RUN_SECONDS_MAX
                )
                wall, cpu = time.time() - began, cpu_seconds(worker.pid) - cpu_before
                # The first rows were paid for before the clock started.
                share = count / (count - first.rows_kept)
                figures = Figures(wall * share, cpu * share, peak_bytes(worker.pid))
                worker.send(signal.SIGTERM)
                await worker.wait(60.0)
                return figures
            finally:
                worker.kill()


async def measure(bootstrap_servers: str, count: int, rounds: int) -> dict[str, list[Figures]]:
    """Publish once, then run everything in turns."""
    topic = f"bench-{secrets.token_hex(4)}"
    await create_topics(
        bootstrap_servers, {topic: PARTITIONS, f"{topic}.dlq": 1, f"{topic}.parked": 1}
    )
    made = events(count, int(time.time()))
    print(f"publishing {count:,} events of {len(made[0][1])} B")
    await publish(bootstrap_servers, topic, made)
    del made
    runs: dict[str, list[Figures]] = {}
    for number in range(rounds):
        runs.setdefault("consume only (floor)", []).append(
            await measure_floor(bootstrap_servers, topic, count)
        )
        for delay in DELAYS_SECONDS:
            name = f"worker, receiver of {delay * 1000:g} ms"
            runs.setdefault(name, []).append(
                await measure_worker(bootstrap_servers, topic, count, delay)
            )
        latest = ", ".join(
            f"{name}: {count / figures[-1].wall_seconds:,.0f}/s" for name, figures in runs.items()
        )
        print(f"round {number + 1}: {latest}")
    return runs


def report(runs: dict[str, list[Figures]], count: int, command: str) -> str:
    """RESULTS.md."""
    floor = statistics.median(one.cpu_seconds for one in runs["consume only (floor)"])
    lines = [
        "# Speed, as measured",
        "",
        f"`{command}` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores, "
        f"{platform.machine()}, "
        f"Python {platform.python_version()}, Apache Kafka 4.2.0 (one node), "
        + ", ".join(
            f"{name} {version(name)}" for name in ("aiokafka", "aiohttp", "msgspec", "orjson")
        )
        + ".",
        "",
        f"{count:,} events of about 300 B on {PARTITIONS} partitions, lz4; broker, receiver and "
        "worker share the cores. "
        f"Medians of {len(next(iter(runs.values())))} rounds taken in turns; the span from "
        "lowest to highest in brackets. "
        "The worker runs with its defaults: validation, deduplication, batches of 5,000 rows, 8 "
        "requests in flight, commits.",
        "",
        "| | events/s | CPU µs per event | ratio to the floor (CPU) | peak memory, MiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, figures in runs.items():
        rate = [count / one.wall_seconds for one in figures]
        cpu = [one.cpu_seconds / count * 1e6 for one in figures]
        memory = statistics.median(one.rss_bytes for one in figures) / 2**20
        ratio = statistics.median(one.cpu_seconds for one in figures) / floor
        lines.append(
            f"| {name} | {statistics.median(rate):,.0f} ({min(rate):,.0f}–{max(rate):,.0f}) "
            f"| {statistics.median(cpu):.1f} ({min(cpu):.1f}–{max(cpu):.1f}) | {ratio:.1f} | "
            f"{memory:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    arguments = parser.parse_args()
    with KafkaCluster() as kafka:
        runs = asyncio.run(measure(kafka.bootstrap_servers, arguments.events, arguments.rounds))
    text = report(runs, arguments.events, "make bench")
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

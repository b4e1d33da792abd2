"""The demo: the whole delivery on real Kafka, and the account of every record.

It publishes sample events, runs the worker as a process, lets the API fail for a while, stops the
worker with SIGTERM, and compares the emulator's ledger and the dead-letter topic with the samples.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.errors import ExitCode, UnavailableError
from worker.sandbox.demo_output import Display, show_account
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.import_samples import IMPORT_TIME, SELECTED_TYPES
from worker.sandbox.kafka import KafkaCluster, free_ports
from worker.sandbox.processes import WorkerOptions, WorkerProcess
from worker.sandbox.prometheus import PrometheusOptions, PrometheusServer
from worker.sandbox.reconciliation import reconcile
from worker.sandbox.samples import REFUSED_EVENT_NAME, Sample, SampleOptions, samples
from worker.sandbox.topics import Published, create_topics, publish, read_all

APPLICATIONS = (1111, 2222)
PARTITIONS = 6
OUTAGE_SECONDS = 3.0
# The share of the other four resources, which have a topic of their own.
IMPORTS_SHARE = 0.2
# The first part of the samples is published before the worker starts.
FIRST_PART = 0.6
SETTLE_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 50.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of the demo.

    `bootstrap_servers` None: start Apache Kafka from packages. `keeps_running`: keep everything
    running afterwards.
    """

    count: int = 100_000
    bootstrap_servers: str | None = None
    keeps_running: bool = False


@dataclass(frozen=True, slots=True)
class _Stage:
    """The parts that have been started."""

    bootstrap_servers: str
    topic: str
    imports_topic: str
    dead_letter_topic: str
    emulator: Emulator
    worker: WorkerProcess
    display: Display


def run_demo(options: DemoOptions, console: Console) -> ExitCode:
    """Run the demo; returns `OK` if every record is accounted for. It leaves nothing behind.

    Raises:
        UnavailableError: Kafka or the worker can't be started.
        KeyboardInterrupt: Ctrl-C; everything has been stopped.
    """
    if options.bootstrap_servers is not None:
        return asyncio.run(_run(options, options.bootstrap_servers, console))
    console.print(
        "Starting Apache Kafka 4.2 from packages (43 MB, downloaded the first time only) …",
        highlight=False,
    )
    started = time.monotonic()
    # Outside the event loop: Ctrl-C ends a blocking start at once.
    with KafkaCluster() as kafka:
        console.print(
            f"  Kafka listens on {kafka.bootstrap_servers} ({time.monotonic() - started:.1f} s)",
            highlight=False,
        )
        return asyncio.run(_run(options, kafka.bootstrap_servers, console))


async def _run(options: DemoOptions, bootstrap_servers: str, console: Console) -> ExitCode:
    keys = {application: secrets.token_hex(22) for application in APPLICATIONS}
    refused = {"event_name": frozenset({REFUSED_EVENT_NAME})}
    # A name of its own for each run: on existing brokers no other topic is used.
    topic = f"appmetrica-demo-{secrets.token_hex(3)}"
    imports = f"{topic}-imports"
    with tempfile.TemporaryDirectory(prefix="appmetrica-worker-demo-") as directory:
        async with Emulator(EmulatorOptions(keys=keys, refused=refused)) as emulator:
            worker_options = WorkerOptions(
                bootstrap_servers=bootstrap_servers,
                base_url=emulator.base_url,
                topic=topic,
                dead_letter_topic=f"{topic}.dlq",
                group_id=topic,
                keys=keys,
                admin_port=free_ports(1)[0],
                overrides=_overrides(topic, imports),
            )
            worker = WorkerProcess(Path(directory), "worker", worker_options)
            with Display(console, options.count) as display:
                stage = _Stage(
                    bootstrap_servers, topic, imports, f"{topic}.dlq", emulator, worker, display
                )
                try:
                    return await _perform(options, stage, console)
                finally:
                    await _end(worker)


def _overrides(topic: str, imports: str) -> dict[str, Any]:
    """The settings of the demo's worker: a route for events, and one for all other resources."""
    return {
        "delivery": {"backoff_max_seconds": 5},
        "routes": [
            {"topic": topic, "resource": "events"},
            {
                "topic": imports,
                "form": "envelope",
                "select": {"$.type": list(SELECTED_TYPES)},
                "time": {"field": f"$.{IMPORT_TIME}", "unit": "milliseconds"},
            },
        ],
    }


async def _perform(options: DemoOptions, stage: _Stage, console: Console) -> ExitCode:
    stage.display.say(f"  The Post API emulator listens on {stage.emulator.base_url}")
    await _create_topics(stage)
    produced = list(
        samples(
            SampleOptions(
                options.count, int(time.time()), APPLICATIONS, imports_share=IMPORTS_SHARE
            )
        )
    )
    status, seconds = await _deliver(stage, produced)
    if not options.keeps_running and not await _stop(stage):
        return ExitCode.INTERNAL
    dead_letters = await read_all(stage.bootstrap_servers, stage.dead_letter_topic)
    topics = [status["topics"][topic] for topic in (stage.topic, stage.imports_topic)]
    duplicates = sum(int(topic["duplicates"]) for topic in topics)
    skipped = sum(sum(topic["skipped"].values()) for topic in topics)
    reconciliation = reconcile(
        produced, stage.emulator.ledger.rows, dead_letters, duplicates, skipped
    )
    rate = (
        f"{reconciliation.delivered / seconds:,.0f} events/s over {seconds:.1f} s, the outage of "
        f"{OUTAGE_SECONDS:g} s included"
    )
    show_account(console, reconciliation, stage.emulator.ledger.summary(), rate)
    if options.keeps_running:
        await _keep(stage, console)
    return ExitCode.INTERNAL if reconciliation.faults else ExitCode.OK


async def _create_topics(stage: _Stage) -> None:
    read = (stage.topic, stage.imports_topic)
    partitions = {
        stage.dead_letter_topic: 1,
        **dict.fromkeys(read, PARTITIONS),
        **{f"{topic}.parked": 1 for topic in read},
    }
    await create_topics(stage.bootstrap_servers, partitions)


async def _deliver(stage: _Stage, produced: Sequence[Sample]) -> tuple[dict[str, Any], float]:
    """Publish the samples, and let a worker deliver them through an outage.

    Returns:
        The worker's last status, and the seconds since it was ready.
    """
    say = stage.display.say
    first = round(len(produced) * FIRST_PART)
    say(
        f"Publishing {len(produced):,} samples of all five resources, to {stage.topic} and "
        f"{stage.imports_topic} …"
    )
    await _publish(stage, produced[:first])
    say(
        f"  {stage.imports_topic}: envelopes, of which the route selects by $.type; its time is "
        f"$.{IMPORT_TIME} in milliseconds, sent as event_timestamp in seconds"
    )
    say("Starting the worker: appmetrica-worker run --config …")
    stage.worker.start()
    await stage.worker.await_ready()
    began = time.monotonic()
    await asyncio.gather(_publish(stage, produced[first:]), _outage(stage, len(produced)))
    status = await _settled(stage, len(produced))
    return status, time.monotonic() - began


async def _stop(stage: _Stage) -> bool:
    """Stop the worker; returns whether it ended as it should."""
    stage.display.say("Stopping the worker with SIGTERM …")
    stage.worker.send(signal.SIGTERM)
    code = await stage.worker.wait(STOP_SECONDS_MAX)
    if code == ExitCode.OK:
        return True
    stage.display.say(f"The worker ended with exit code {code}: {stage.worker.log_tail()}")
    return False


async def _publish(stage: _Stage, part: Sequence[Sample]) -> None:
    for topic, is_import in ((stage.topic, False), (stage.imports_topic, True)):
        records = (
            Published(sample.key, sample.value, sample.headers)
            for sample in part
            if sample.is_import == is_import
        )
        await publish(stage.bootstrap_servers, topic, records)


async def _outage(stage: _Stage, total: int) -> None:
    """Let the API answer 503 for a while after a third of the samples."""
    ledger = stage.emulator.ledger
    await ledger.wait_for(lambda ledger: ledger.rows_total >= total // 3, SETTLE_SECONDS_MAX)
    stage.display.say(f"The API answers 503 for {OUTAGE_SECONDS:g} s …")
    stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503, seconds=OUTAGE_SECONDS))


async def _settled(stage: _Stage, total: int) -> dict[str, Any]:
    """Wait until the worker has settled and committed every record; returns its status."""
    status: dict[str, Any] = {}
    for _ in range(round(SETTLE_SECONDS_MAX / POLL_SECONDS)):
        status = await stage.worker.status()
        consumed = sum(topic["consumed"] for topic in status["topics"].values())
        behind = sum(one["unsettled_records"] for one in status["partitions"])
        uncommitted = sum(one["committed"] != one["position"] for one in status["partitions"])
        retries = sum(status["retries"].values())
        stage.display.advance(
            stage.emulator.ledger.rows_total, f"{behind:,} in progress, {retries} retries"
        )
        if consumed >= total and behind == 0 and uncommitted == 0:
            return status
        await asyncio.sleep(POLL_SECONDS)
    raise UnavailableError(f"not settled after {SETTLE_SECONDS_MAX:g} s: {status}")


async def _keep(stage: _Stage, console: Console) -> None:
    """Print the addresses and wait for Ctrl-C; Prometheus runs meanwhile, where it is installed."""
    directory = stage.worker.log_file.parent / "prometheus"
    directory.mkdir()
    prometheus = PrometheusServer(PrometheusOptions(directory))
    addresses = {
        "status": f"{stage.worker.admin_url}/status",
        "metrics": f"{stage.worker.admin_url}/metrics",
        "Kafka": (
            f"{stage.bootstrap_servers} (topic {stage.topic}, dead letters "
            f"{stage.dead_letter_topic})"
        ),
        "emulator": f"{stage.emulator.base_url}/_emulator/ledger",
        "worker's log": str(stage.worker.log_file),
    }
    try:
        if prometheus.is_installed():
            prometheus.scrape({"demo": [stage.worker.admin_url]})
            await prometheus.start()
            addresses["Prometheus"] = f"{prometheus.url}/alerts"
        for name, address in addresses.items():
            console.print(f"  {name:12} {address}", highlight=False, soft_wrap=True)
        console.print("Everything is still running; Ctrl-C stops it.", highlight=False)
        await asyncio.Event().wait()
    finally:
        prometheus.kill()


async def _end(worker: WorkerProcess) -> None:
    """Stop the worker in any case."""
    worker.send(signal.SIGTERM)
    try:
        await worker.wait(2.0)
    except (TimeoutError, RuntimeError):
        pass
    finally:
        worker.kill()

"""The demo: the whole main job on real Kafka, and an account that balances.

Publishes sample events, runs the worker as a process of its own, lets the API fail for a while,
stops the worker with SIGTERM, and reckons from outside: the emulator's ledger and the dead-letter
topic.
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
from rich.table import Table

from worker.errors import ExitCode, UnavailableError
from worker.sandbox.account import Reconciliation, reconcile
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.kafka import KafkaCluster, free_ports
from worker.sandbox.progress_display import Display
from worker.sandbox.samples import REFUSED_EVENT_NAME, Sample, SampleOptions, samples
from worker.sandbox.topics import create_topics, publish, read_all
from worker.sandbox.worker_process import WorkerOptions, WorkerProcess

APPLICATIONS = (1111, 2222)
PARTITIONS = 6
OUTAGE_SECONDS = 3.0
# So many samples are of the other four resources, in a topic of their own.
IMPORTS_SHARE = 0.2
# Samples are published in two parts: the second while the worker is at it.
FIRST_PART = 0.6
SETTLE_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 50.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to show.

    `bootstrap_servers` None: start Apache Kafka from packages. `keeps_running`: leave everything
    up.
    """

    count: int = 100_000
    bootstrap_servers: str | None = None
    keeps_running: bool = False


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that has been started."""

    bootstrap_servers: str
    topic: str
    imports_topic: str
    dead_letter_topic: str
    emulator: Emulator
    worker: WorkerProcess
    display: Display


def run_demo(options: DemoOptions, console: Console) -> ExitCode:
    """Start what is needed, run the demo, leave nothing behind; `OK` only if the account balances.

    Raises:
        UnavailableError: Kafka can't be had, or the worker doesn't start.
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
    # A name of its own for each run: on a broker of yours nothing else is touched.
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
                overrides={
                    "delivery": {"backoff_max_seconds": 5},
                    "routes": [
                        {"topic": topic, "resource": "events"},
                        {"topic": imports, "form": "envelope"},
                    ],
                },
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


async def _perform(options: DemoOptions, stage: _Stage, console: Console) -> ExitCode:
    say = stage.display.say
    say(f"  The Post API emulator listens on {stage.emulator.base_url}")
    read = (stage.topic, stage.imports_topic)
    partitions = {
        stage.dead_letter_topic: 1,
        **dict.fromkeys(read, PARTITIONS),
        **{f"{topic}.parked": 1 for topic in read},
    }
    await create_topics(stage.bootstrap_servers, partitions)
    produced = list(
        samples(
            SampleOptions(
                options.count, int(time.time()), APPLICATIONS, imports_share=IMPORTS_SHARE
            )
        )
    )
    first = round(len(produced) * FIRST_PART)
    say(
        f"Publishing {len(produced):,} samples of all five resources, to {stage.topic} and "
        f"{stage.imports_topic} …"
    )
    await _publish(stage, produced[:first])
    say("Starting the worker: appmetrica-worker run --config …")
    stage.worker.start()
    await stage.worker.await_ready()
    began = time.monotonic()
    await asyncio.gather(_publish(stage, produced[first:]), _outage(stage, len(produced)))
    status = await _settled(stage, len(produced))
    seconds = time.monotonic() - began
    if not options.keeps_running:
        say("Stopping the worker with SIGTERM …")
        stage.worker.send(signal.SIGTERM)
        code = await stage.worker.wait(STOP_SECONDS_MAX)
        if code != ExitCode.OK:
            say(f"The worker ended with exit code {code}: {stage.worker.log_tail()}")
            return ExitCode.INTERNAL
    dead_letters = await read_all(stage.bootstrap_servers, stage.dead_letter_topic)
    duplicates = sum(int(status["topics"][topic]["duplicates"]) for topic in read)
    reconciliation = reconcile(produced, stage.emulator.ledger.rows, dead_letters, duplicates)
    _show(console, reconciliation, stage.emulator, seconds)
    if options.keeps_running:
        await _keep(stage, console)
    return ExitCode.INTERNAL if reconciliation.faults else ExitCode.OK


async def _publish(stage: _Stage, part: Sequence[Sample]) -> None:
    for topic, is_import in ((stage.topic, False), (stage.imports_topic, True)):
        records = ((sample.key, sample.value) for sample in part if sample.is_import == is_import)
        await publish(stage.bootstrap_servers, topic, records)


async def _outage(stage: _Stage, total: int) -> None:
    """When a third is through, the API answers 503 for a while."""
    ledger = stage.emulator.ledger
    await ledger.wait_for(lambda ledger: ledger.rows_total >= total // 3, SETTLE_SECONDS_MAX)
    stage.display.say(f"The API answers 503 for {OUTAGE_SECONDS:g} s …")
    stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503, seconds=OUTAGE_SECONDS))


async def _settled(stage: _Stage, total: int) -> dict[str, Any]:
    """Wait until the worker has settled and committed everything; returns its last status."""
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


def _show(
    console: Console, reconciliation: Reconciliation, emulator: Emulator, seconds: float
) -> None:
    table = Table(
        "",
        "records",
        title="The account, from the emulator's ledger and the dead-letter topic",
        title_justify="left",
    )
    table.add_row("produced", f"{reconciliation.produced:,}")
    table.add_row("delivered", f"{reconciliation.delivered:,}")
    table.add_row("delivered twice", f"{reconciliation.delivered_twice:,}")
    table.add_row("duplicates dropped", f"{reconciliation.duplicates_dropped:,}")
    for reason, count in sorted(reconciliation.dead_lettered.items()):
        table.add_row(f"dead-lettered: {reason}", f"{count:,}")
    console.print(table)
    summary = emulator.ledger.summary()
    console.print(
        f"delivered by resource: {summary['rows_by_resource']}", highlight=False, soft_wrap=True
    )
    console.print(
        f"requests: {summary['requests_total']}, by answer: {summary['requests_by_answer']}",
        highlight=False,
    )
    console.print(
        f"{reconciliation.delivered / seconds:,.0f} events/s over {seconds:.1f} s, the outage of "
        f"{OUTAGE_SECONDS:g} s included",
        highlight=False,
    )
    style = "bold green" if not reconciliation.faults else "bold red"
    console.print(reconciliation.equation, style=style, highlight=False, soft_wrap=True)
    for fault in reconciliation.faults:
        console.print(f"  wrong: {fault}", style="red", highlight=False)


async def _keep(stage: _Stage, console: Console) -> None:
    for name, address in {
        "status": f"{stage.worker.admin_url}/status",
        "metrics": f"{stage.worker.admin_url}/metrics",
        "Kafka": (
            f"{stage.bootstrap_servers} (topic {stage.topic}, dead letters "
            f"{stage.dead_letter_topic})"
        ),
        "emulator": f"{stage.emulator.base_url}/_emulator/ledger",
        "worker's log": str(stage.worker.log_file),
    }.items():
        console.print(f"  {name:12} {address}", highlight=False, soft_wrap=True)
    console.print("Everything is left running; Ctrl-C stops it.", highlight=False)
    await asyncio.Event().wait()


async def _end(worker: WorkerProcess) -> None:
    """Whatever happened: no process stays behind."""
    worker.send(signal.SIGTERM)
    try:
        await worker.wait(2.0)
    except (TimeoutError, RuntimeError):
        pass
    finally:
        worker.kill()

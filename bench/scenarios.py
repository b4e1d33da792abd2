"""What is measured: each scenario takes the stage and returns samples of its figures.

A figure that compares is a ratio within one round, because what runs beside the bench disturbs all
processes of a round alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bench import publishing
from bench.broker_stage import Samples, Stage, add, latest, quantile
from bench.contenders import (
    PLAIN_LOOP,
    RUN_SECONDS_MAX,
    WORKER,
    Contender,
    Feed,
    Run,
    measure,
    measure_floor,
    memory_over,
    observed_worker,
    quix,
    running,
    worker_with,
)
from bench.core_share import core_share, why_unshareable
from bench.events import TWENTY_APPLICATIONS
from bench.process_figures import cpu_seconds
from bench.publishing import Records
from bench.receiver import Receiver

MIB = 2**20
# The defaults of the worker, which bound the rate against a slow receiver.
BATCH_ROWS, REQUESTS_IN_FLIGHT = 5_000, 8
# How many events per CPU-second the plain loop reads for each of the peer. Measured once, on
# another machine and on the same job.
PLAIN_LOOPS_OF = {"vector": 2.5, "redpanda_connect": 2.5, "kafka_connect": 1.3}
# The smallest window that the settings allow.
EMPTY_WINDOW = worker_with(dedup={"window_rows_max": 8})
# Of each of two workers beside a broker and a receiver on two cores.
CORE_SHARE = 0.35
TWO_PROCESSES_EVENTS_MIN = 500_000
RESOURCES = ("revenue", "adrevenue", "ecommerce", "profiles")


def side_by_side(stage: Stage, shape: str) -> Samples:
    """Floor, plain loop and worker in turns."""
    feed = stage.feed(Records(shape, stage.sizes.events))
    contenders: list[Contender] = [PLAIN_LOOP, WORKER]
    if stage.quix_python:
        contenders.append(quix(stage.quix_python))
    samples: Samples = {}
    for number in range(stage.sizes.rounds):
        runs = {"floor": measure_floor(feed)}
        # Each begins in turn: what the first pays for the page cache is not always the same one's.
        shift = number % len(contenders)
        for contender in contenders[shift:] + contenders[:shift]:
            runs[contender.name] = measure(contender, feed)
        add(samples, _of_round(runs, shape))
        print(f"{shape}, round {number + 1}:", latest(samples), flush=True)
    return samples


def _of_round(runs: Mapping[str, Run], shape: str) -> dict[str, float]:
    cost = {name: run.cpu_microseconds for name, run in runs.items()}
    to_plain = cost["plain loop"] / cost["worker"]
    figures = {
        f"floor_us_{shape}": cost["floor"],
        f"plain_us_{shape}": cost["plain loop"],
        f"worker_us_{shape}": cost["worker"],
        f"worker_rate_{shape}": runs["worker"].events_per_second,
        f"plain_rate_{shape}": runs["plain loop"].events_per_second,
        f"floor_rate_{shape}": runs["floor"].events_per_second,
        f"worker_peak_mib_{shape}": runs["worker"].peak_bytes / MIB,
        f"plain_peak_mib_{shape}": runs["plain loop"].peak_bytes / MIB,
        f"floor_peak_mib_{shape}": runs["floor"].peak_bytes / MIB,
        f"to_floor_{shape}": cost["worker"] / cost["floor"],
        f"to_plain_{shape}": to_plain,
    }
    figures |= {f"to_{peer}_{shape}": to_plain * ratio for peer, ratio in PLAIN_LOOPS_OF.items()}
    if "Quix Streams" in cost:
        figures[f"quix_us_{shape}"] = cost["Quix Streams"]
        figures[f"to_quix_{shape}"] = cost["Quix Streams"] / cost["worker"]
    return figures


def memory(stage: Stage) -> Samples:
    """The peak of resident memory with an empty window, and what a key adds to it."""
    feed = stage.rich()
    samples: Samples = {}
    for _ in range(stage.sizes.repeats):
        empty, full = measure(EMPTY_WINDOW, feed), measure(WORKER, feed)
        bytes_per_key = (full.peak_bytes - empty.peak_bytes) / feed.rows
        add(samples, {"peak_mib": empty.peak_bytes / MIB, "bytes_per_key": bytes_per_key})
    return samples


def receiver_delay(stage: Stage) -> Samples:
    """The rate against receivers that answer late, as a share of what is possible."""
    feed, samples, series = stage.rich(), Samples(), []
    unhindered = 0.0
    for delay_ms in stage.sizes.delays_ms:
        rate = measure(WORKER, feed, delay_ms / 1000).events_per_second
        series.append([float(delay_ms), rate])
        if delay_ms == 0:
            unhindered = rate
            continue
        possible = min(unhindered, BATCH_ROWS * REQUESTS_IN_FLIGHT / delay_ms * 1000)
        add(samples, {f"rate_{delay_ms}": rate, f"share_{delay_ms}": rate / possible})
    stage.series["delay"] = series
    return samples


def latency(stage: Stage) -> Samples:
    """The time from a record's production to its 200, at 1,000 events a second."""
    samples: Samples = {}
    for linger in (1.0, 0.05):
        topic = stage.topic()
        records = Records("rich", stage.sizes.latency_seconds * 1_000, per_second=1_000)
        feed = Feed(stage.bootstrap_servers, topic, records.count, 0)
        worker = worker_with(batching={"linger_seconds": linger})
        with (
            Receiver(notes_latencies=True) as receiver,
            running(worker, feed, receiver.base_url) as one,
        ):
            one.await_assignment()
            publishing.publish(stage.bootstrap_servers, topic, records)
            time.sleep(2 * linger + 0.5)
            # The first second: connections are new, and the worker has just started.
            taken = sorted(receiver.accepted().latencies[1_000:])
        name = f"{linger * 1000:.0f}"
        points = {f"p50_ms_{name}": quantile(taken, 0.5), f"p99_ms_{name}": quantile(taken, 0.99)}
        add(samples, {key: seconds * 1000 for key, seconds in points.items()})
    return samples


def idle(stage: Stage) -> Samples:
    """The CPU of a worker that has nothing to do."""
    topic = stage.topic(stage.sizes.idle_partitions)
    feed = Feed(stage.bootstrap_servers, topic, 0, 0)
    with Receiver() as receiver, running(WORKER, feed, receiver.base_url) as one:
        one.await_assignment()
        one.await_idle()
        before = cpu_seconds(one.pid)
        time.sleep(stage.sizes.idle_seconds)
        share = (cpu_seconds(one.pid) - before) / stage.sizes.idle_seconds
    return {"idle_percent": [share * 100]}


def start(stage: Stage) -> Samples:
    """The time from the start of the process to its first row, against importing its libraries."""
    feed, samples = stage.rich(), Samples()
    # An installed worker has its byte code; a work tree may have none.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "worker"], check=True)
    for _ in range(stage.sizes.starts):
        began = time.time()
        subprocess.run([sys.executable, "-c", "import aiokafka, aiohttp"], check=True)
        imports = time.time() - began
        with Receiver() as receiver:
            began = time.time()
            with running(WORKER, feed, receiver.base_url):
                first = receiver.wait_for(1, RUN_SECONDS_MAX).first_unix - began
        add(samples, {"start_seconds": first, "start_ratio": first / imports})
    return samples


def stall(stage: Stage) -> Samples:
    """The longest callbacks of the event loop at full speed, among those above a millisecond."""
    feed = stage.rich()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "callbacks.json"
        measure(observed_worker(file), feed)
        taken = sorted(json.loads(file.read_text(encoding="utf-8")))
    return {
        "stall_ms": [quantile(taken, 0.999) * 1000],
        "stall_ms_max": [quantile(taken, 1.0) * 1000],
    }


def outage(stage: Stage) -> Samples:
    """The memory through an outage of the API, with records enough to fill all bounds."""
    feed = stage.rich()
    seconds = stage.sizes.outage_seconds
    with Receiver() as receiver, running(WORKER, feed, receiver.base_url) as one:
        receiver.refuse(seconds)
        one.await_assignment()
        every = max(0.2, seconds / 200)
        series = [
            [since, resident / MIB, float(rows)]
            for since, resident, rows in memory_over(one, receiver, feed.rows, every)
        ]
    stage.series["outage"] = series
    return {"outage_peak_mib": [max(resident for _, resident, _ in series)]}


def variety(stage: Stage) -> Samples:
    """The cost of other records than those of the other figures."""
    count = stage.sizes.events
    header_key = {"key_header": "event-id"}
    cases = {
        "invalid": (WORKER, Records("dirty", count)),
        "duplicates": (WORKER, Records("rich", count, distinct=max(1, count // 20))),
        "headers": (worker_with(dedup=header_key), Records("rich", count, has_headers=True)),
        "uncompressed": (WORKER, Records("rich", count, compression="none")),
        **{name: (worker_with(resource=name), Records(name, count)) for name in RESOURCES},
    }
    samples: Samples = {}
    for name, (worker, records) in cases.items():
        run = measure(worker, stage.feed(records))
        add(samples, {f"us_{name}": run.cpu_microseconds, f"rate_{name}": run.events_per_second})
        print(f"{name}:", latest(samples), flush=True)
    return samples


def growth(stage: Stage) -> Samples:
    """The cost of an event with more of something, against a million in six partitions."""
    million, samples = stage.sizes.million, Samples()
    ordinary = stage.feed(Records("rich", million))
    few = stage.feed(Records("rich", million // 10))
    partitions = stage.feed(Records("rich", million), 60)
    applications = stage.feed(Records("many", million))
    many = worker_with(applications=TWENTY_APPLICATIONS)
    for _ in range(stage.sizes.repeats):
        base = measure(WORKER, ordinary).cpu_microseconds
        add(
            samples,
            {
                "us_million": base,
                "growth_million": base / measure(WORKER, few).cpu_microseconds,
                "growth_partitions": measure(WORKER, partitions).cpu_microseconds / base,
                "growth_applications": measure(many, applications).cpu_microseconds / base,
            },
        )
    five = measure(WORKER, stage.feed(Records("rich", 5 * million)))
    ten = measure(WORKER, stage.feed(Records("rich", 10 * million)))
    base = statistics.median(samples["us_million"])
    return samples | {
        "rate_catching_up": [five.events_per_second],
        "peak_mib_catching_up": [five.peak_bytes / MIB],
        "growth_ten_million": [ten.cpu_microseconds / base],
    }


def two_processes(stage: Stage) -> Samples:
    """The rate of two workers of a group, against one: after both have their partitions.

    Broker and receiver need a core of their own to serve two workers at full speed. So that two
    cores are enough, each worker may take `CORE_SHARE` of a core.
    """
    why = why_unshareable()
    if stage.sizes.million < TWO_PROCESSES_EVENTS_MIN:
        # The first worker would take them all before the second has its partitions.
        why = f"it needs {TWO_PROCESSES_EVENTS_MIN:,} events"
    if why:
        print(f"two_processes is not measured: {why}", flush=True)
        return {}
    feed = stage.feed(Records("rich", stage.sizes.million))
    samples: Samples = {}
    for _ in range(stage.sizes.repeats):
        rates = []
        for workers in (1, 2):
            group = f"bench-{os.urandom(4).hex()}"
            with Receiver() as receiver:
                rates.append(_rate_of(workers, feed, receiver, group))
        add(samples, {"two_processes": rates[1] / rates[0]})
    return samples


def _rate_of(workers: int, feed: Feed, receiver: Receiver, group: str) -> float:
    with ExitStack() as stack:
        for _ in range(workers):
            one = stack.enter_context(running(WORKER, feed, receiver.base_url, group))
            one.await_assignment()
            stack.enter_context(core_share(one.pid, CORE_SHARE))
        return _rate_between(receiver, feed.rows)


def _rate_between(receiver: Receiver, rows: int) -> float:
    """The rate of the middle: without what was done before both ran, and without the last rows."""
    before = receiver.wait_for(max(1, receiver.accepted().rows + rows // 20), RUN_SECONDS_MAX)
    after = receiver.wait_for(before.rows + (rows - before.rows) // 2, RUN_SECONDS_MAX)
    return (after.rows - before.rows) / (after.last_unix - before.last_unix)

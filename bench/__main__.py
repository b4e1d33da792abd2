"""Measures the worker beside its peers on real Kafka, and writes the results.

    python -m bench [--full] [--only side_by_side …] [--output bench]

It writes results.json, RESULTS.md and the plots, and the generated part of docs/performance.md.
Nothing is asserted: a figure that misses its goal is written as it is.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import instructions, report, results, scenarios, stages
from bench.broker_stage import Samples, Sizes, Stage
from bench.events import SHAPES
from worker.sandbox.kafka import ClusterOptions, KafkaCluster

Scenario = Callable[[Stage], Samples]
SHORT: dict[str, Scenario] = {
    "side_by_side_rich": partial(scenarios.side_by_side, shape="rich"),
    "side_by_side_small": partial(scenarios.side_by_side, shape="small"),
    "memory": scenarios.memory,
    "receiver_delay": scenarios.receiver_delay,
    "latency": scenarios.latency,
    "idle": scenarios.idle,
    "start": scenarios.start,
    "stall": scenarios.stall,
    "outage": scenarios.outage,
}
LONG: dict[str, Scenario] = {
    "variety": scenarios.variety,
    "growth": scenarios.growth,
    "two_processes": scenarios.two_processes,
}
SHORT_SIZES = Sizes()
FULL_SIZES = Sizes(
    events=1_000_000,
    rounds=7,
    delays_ms=(0, 25, 50, 100, 200, 400, 800),
    latency_seconds=60,
    idle_seconds=60.0,
    starts=7,
    outage_seconds=600.0,
    repeats=5,
)
# So small that only its course can be checked, and no figure means anything.
SMOKE_SIZES = Sizes(
    events=2_000,
    rounds=1,
    delays_ms=(0, 5),
    latency_seconds=3,
    idle_seconds=0.2,
    idle_partitions=2,
    starts=1,
    outage_seconds=0.5,
    million=2_000,
    repeats=1,
    stage_events=1_000,
    stage_repeats=1,
    counted_events=0,
)


def run(
    stage: Stage, chosen: dict[str, Scenario], found: results.Results, save: Callable[[], None]
) -> None:
    """Run the scenarios; what each has measured is saved before the next begins."""
    for name, scenario in chosen.items():
        began = time.monotonic()
        found.take(scenario(stage))
        found.series |= stage.series
        save()
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def brokers(given: str) -> Iterator[str]:
    """The brokers given, or a new one."""
    if given:
        yield given
        return
    with KafkaCluster(ClusterOptions(heap="1g")) as kafka:
        yield kafka.bootstrap_servers


def run_stages(found: results.Results, sizes: Sizes) -> None:
    """Measure the stages without a broker."""
    for shape in report.SHAPES_SHOWN:
        microseconds = stages.timed(
            SHAPES[shape], stages.STAGES, sizes.stage_events, sizes.stage_repeats
        )
        executed: dict[str, float] = {}
        if sizes.counted_events and not instructions.why_unavailable():
            executed = stages.counted(SHAPES[shape], stages.STAGES, sizes.counted_events)
        found.take_stages(
            shape,
            {name: stages.Cost(cost, executed.get(name)) for name, cost in microseconds.items()},
        )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all scenarios, with millions")
    parser.add_argument("--smoke", action="store_true", help="tiny counts: does it run?")
    parser.add_argument("--bootstrap-servers", default="", help="default: a broker of its own")
    parser.add_argument("--quix", default="", help="an interpreter that has quixstreams")
    parser.add_argument("--only", nargs="+", choices=[*SHORT, *LONG, "stages"], default=[])
    parser.add_argument("--events", type=int, help="of a run")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--output", type=Path, default=results.DIRECTORY)
    options = parser.parse_args()
    sizes = FULL_SIZES if options.full else SMOKE_SIZES if options.smoke else SHORT_SIZES
    changes = {
        name: value
        for name, value in (("events", options.events), ("rounds", options.rounds))
        if value
    }
    sizes = replace(sizes, **changes)
    offered = SHORT | LONG if options.full or options.smoke else SHORT
    only = options.only or [*offered, "stages"]
    chosen = {name: one for name, one in (SHORT | LONG).items() if name in only}
    found = results.load(options.output)
    command = "make bench-full" if options.full else "make bench"
    about = results.machine(command)
    about |= {"events": f"{sizes.events:,}", "load_before": _load()}
    is_published = options.output == results.DIRECTORY

    def save() -> None:
        found.about = about | {"load_after": _load()}
        results.save(found, options.output)
        report.write(found, options.output, report.PERFORMANCE if is_published else None)

    if chosen:
        with brokers(options.bootstrap_servers) as servers:
            run(Stage(servers, sizes, options.quix), chosen, found, save)
    if "stages" in only:
        run_stages(found, sizes)
    save()
    print((options.output / "RESULTS.md").read_text(encoding="utf-8"))


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()

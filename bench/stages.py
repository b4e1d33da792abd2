"""Measures each stage of a record's way through the core, without a broker and without HTTP.

    python -m bench.stages [--shape rich small] [--events 6000]

Microseconds of CPU are the least of several runs. Instructions are counted by callgrind over so
many events, behind a warm-up, and move only when the code does; without valgrind there are none.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from bench import core_shell, instructions
from bench.core_shell import Chunk, CoreShell
from bench.events import SHAPES, Shape, events
from worker.core.intake import dedup_key
from worker.core.intake.decode import Unknown, value_decoder
from worker.core.intake.layout import Layout
from worker.core.model.clock import Now
from worker.core.model.row import Destination, Row
from worker.core.route import Route
from worker.daemon.pipeline_parts import intake_rules, route_parts

WARM_UP_EVENTS = 2_000
Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an event: µs of CPU, and instructions where they were counted."""

    microseconds: float
    instructions: float | None


class Workbench:
    """The parts of one route as the worker assembles them, and a shell that runs the core."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._settings = core_shell.settings()
        (self._resolved, *_) = self._settings.resolved_routes()
        self._unix_seconds = int(time.time())
        self._first = 0
        self.now = Now(time.monotonic(), self._unix_seconds)
        self.rules = intake_rules(self._settings, self._resolved)
        self.window = self.rules.window(self._unix_seconds)
        self.shell = CoreShell(self._unix_seconds)

    def route(self) -> Route:
        """A route that has seen nothing yet."""
        return route_parts(self._settings, self._resolved)

    def chunks(self, count: int) -> list[Chunk]:
        """Events as the source hands them on, other events at each call."""
        first, self._first = self._first, self._first + count
        made = events(self._shape, count, now=self._unix_seconds, first=first)
        return core_shell.chunks(list(made), first, self._unix_seconds)


class Inputs:
    """Events in the form in which each stage takes them; each form is made at its first use."""

    def __init__(self, bench: Workbench, count: int) -> None:
        self.bench = bench
        self._chunks = bench.chunks(count)

    @property
    def chunks(self) -> list[Chunk]:
        """The events as the source hands them on."""
        return self._chunks

    @cached_property
    def values(self) -> list[bytes]:
        """The values of which rows are made."""
        values = [row.record.value for rows in self.rows for row in rows]
        return [value for value in values if value]

    @cached_property
    def lines(self) -> list[tuple[Destination, bytes]]:
        """The destination and the line of each row."""
        return [(row.destination, row.line) for rows in self.rows for row in rows]

    @cached_property
    def rows(self) -> list[list[Row]]:
        """The rows of each chunk."""
        intake, now = self.bench.route().intake, self.bench.now
        return [intake.read(owner, records, now)[0] for owner, records in self._chunks]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its preparation, which isn't measured, returns the action that is.

    The figure of `includes` is subtracted, where a stage can't be run without another.
    """

    name: str
    description: str
    prepare: Callable[[Inputs], Action]
    includes: str = ""


def _decode(inputs: Inputs) -> Action:
    values, rules = inputs.values, inputs.bench.rules
    decode, flatten = value_decoder(rules, Layout.of(rules), Unknown.FORBID)
    return lambda: [flatten(decode(value)) for value in values]


def _digest(inputs: Inputs) -> Action:
    lines, of_line = inputs.lines, dedup_key.of_line
    return lambda: [of_line(destination, line) for destination, line in lines]


def _intake(inputs: Inputs) -> Action:
    chunks, intake, now = inputs.chunks, inputs.bench.route().intake, inputs.bench.now
    return lambda: [intake.read(owner, records, now) for owner, records in chunks]


def _admit(inputs: Inputs) -> Action:
    chunks, window = inputs.rows, inputs.bench.route().window
    return lambda: [window.admit(rows, 1.0) for rows in chunks]


def _add(inputs: Inputs) -> Action:
    chunks, batcher = inputs.rows, inputs.bench.route().batcher
    return lambda: [batcher.add(rows, 1.0) for rows in chunks]


def _body(inputs: Inputs) -> Action:
    batcher, rows = inputs.bench.route().batcher, chain.from_iterable(inputs.rows)
    batches = [sealed.batch for sealed in [*batcher.add(rows, 1.0), *batcher.due(1e9)]]
    return lambda: [batch.body() for batch in batches]


def _settle(inputs: Inputs) -> Action:
    shell = inputs.bench.shell
    batches = shell.receive(inputs.chunks)
    return lambda: shell.answer(batches)


def _core(inputs: Inputs) -> Action:
    shell, chunks = (
        inputs.bench.shell,
        inputs.bench.chunks(sum(len(one) for _, one in inputs.chunks)),
    )
    return lambda: shell.run(chunks)


STAGES = (
    Stage("decode", "JSON bytes to typed values", _decode),
    Stage("digest", "the key by content", _digest),
    Stage("intake", "a chunk to rows and rejections: the above, checks and lines", _intake),
    Stage("admit", "the window of keys", _admit),
    Stage("add", "open batches, sealing", _add),
    Stage("body", "the body of a request", _body),
    Stage("settle", "an answer to offsets, counters, window, memory", _settle),
    Stage("core", "from chunk to commit: everything but sockets", _core),
)


def timed(shape: Shape, stages: Sequence[Stage], count: int, repeats: int) -> dict[str, float]:
    """The CPU of each stage in µs per event: the least of several runs."""
    best: dict[str, float] = {}
    bench = Workbench(shape)
    for _ in range(repeats):
        inputs = Inputs(bench, count)
        for stage in stages:
            action = stage.prepare(inputs)
            gc.collect()
            began = time.thread_time()
            action()
            cost = (time.thread_time() - began) / count * 1e6
            best[stage.name] = min(cost, best.get(stage.name, cost))
    return _apart(best)


def run_counted(shape: Shape, stages: Sequence[Stage], count: int) -> None:
    """Run each stage once behind a warm-up, and count it."""
    bench = Workbench(shape)
    warm_up, inputs = Inputs(bench, WARM_UP_EVENTS), Inputs(bench, count)
    for stage in stages:
        stage.prepare(warm_up)()
        action = stage.prepare(inputs)
        gc.collect()
        with instructions.counting():
            action()


def counted(shape: Shape, stages: Sequence[Stage], count: int) -> dict[str, float]:
    """The instructions of each stage per event."""
    names = [stage.name for stage in stages]
    totals = instructions.counted(
        "bench.stages",
        ("--counted", "--shape", shape.name, "--events", str(count), "--stage", *names),
    )
    return _apart({name: total / count for name, total in zip(names, totals, strict=True)})


def _apart(figures: dict[str, float]) -> dict[str, float]:
    """The figures without the stages that they include, where these were measured too."""
    included = {stage.name: stage.includes for stage in STAGES}
    return {name: cost - figures.get(included[name], 0.0) for name, cost in figures.items()}


def table(costs: dict[str, dict[str, Cost]]) -> str:
    """The stages as a table, with a pair of columns for each shape."""
    heads = [f"{shape}, µs | {shape}, instructions" for shape in costs]
    lines = [f"| stage | | {' | '.join(heads)} |", "| --- " * (2 + 2 * len(costs)) + "|"]
    measured = next(iter(costs.values()))
    # In the order of the work: results.json is sorted by name.
    for stage in (stage for stage in STAGES if stage.name in measured):
        cells = []
        for of_shape in costs.values():
            cost = of_shape[stage.name]
            executed = "" if cost.instructions is None else f"{cost.instructions:,.0f}"
            cells += [f"{cost.microseconds:.2f}", executed]
        lines.append(f"| {stage.name} | {stage.description} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def measure(options: argparse.Namespace, shape: Shape) -> dict[str, Cost]:
    """The cost of each stage."""
    stages = [stage for stage in STAGES if stage.name in options.stage]
    microseconds = timed(shape, stages, options.timed_events, options.repeats)
    executed = counted(shape, stages, options.events) if not instructions.why_unavailable() else {}
    return {name: Cost(figure, executed.get(name)) for name, figure in microseconds.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    names = [stage.name for stage in STAGES]
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["rich", "small"])
    parser.add_argument("--stage", nargs="+", choices=names, default=names)
    parser.add_argument("--events", type=int, default=6_000, help="of a count of instructions")
    parser.add_argument("--timed-events", type=int, default=30_000, help="of a run by time")
    parser.add_argument("--repeats", type=int, default=5, help="runs by time")
    parser.add_argument("--counted", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    shapes = [SHAPES[name] for name in options.shape]
    if options.counted:
        for shape in shapes:
            run_counted(shape, [one for one in STAGES if one.name in options.stage], options.events)
        return
    print(table({shape.name: measure(options, shape) for shape in shapes}))
    if instructions.why_unavailable():
        print(f"No instructions: {instructions.why_unavailable()}.")


if __name__ == "__main__":
    main()

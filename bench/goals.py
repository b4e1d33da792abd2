"""The goals, each a figure that some scenario measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Bound(Enum):
    """Whether a figure has to be at most or at least its goal."""

    AT_MOST = "≤"
    AT_LEAST = "≥"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure by its key in the results, and its goal.

    `compiled` is the goal with the compiled writer, where that has one of its own.
    """

    key: str
    text: str
    bound: Bound
    goal: float
    unit: str = ""
    compiled: float | None = None

    def limit(self, *, is_compiled: bool) -> float:
        """The goal of a build."""
        return self.compiled if is_compiled and self.compiled is not None else self.goal

    def is_reached(self, value: float, *, is_compiled: bool) -> bool:
        """Whether the figure reaches the goal."""
        limit = self.limit(is_compiled=is_compiled)
        return value <= limit if self.bound is Bound.AT_MOST else value >= limit

    def shown(self, value: float) -> str:
        """A value of this figure with its unit."""
        return f"{number(value)}{self.unit}"


def number(value: float) -> str:
    """A figure with as many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


_MOST, _LEAST = Bound.AT_MOST, Bound.AT_LEAST
_PLAIN = "events per CPU-second ÷ plain loop"
GOALS = (
    Goal("to_floor_rich", "CPU per event ÷ aiokafka reading alone, rich", _MOST, 6, compiled=4.5),
    Goal("to_floor_small", "CPU per event ÷ aiokafka reading alone, small", _MOST, 5, compiled=3.7),
    Goal("to_plain_rich", f"{_PLAIN}, rich", _LEAST, 0.9, compiled=1.3),
    Goal("instructions_rich", "instructions of the intake per event, rich", _MOST, 36_000),
    Goal("instructions_small", "instructions of the intake per event, small", _MOST, 25_000),
    Goal("to_quix_rich", "events per CPU-second ÷ Quix Streams, rich", _LEAST, 3),
    Goal("to_vector_rich", "events per CPU-second ÷ Vector (by its ratio), rich", _LEAST, 3),
    Goal(
        "to_redpanda_connect_rich",
        "events per CPU-second ÷ Redpanda Connect (by its ratio), rich",
        _LEAST,
        3,
    ),
    Goal("share_50", "rate against a receiver of 50 ms ÷ what is possible", _LEAST, 0.9),
    Goal("share_200", "rate against a receiver of 200 ms ÷ what is possible", _LEAST, 0.9),
    Goal("peak_mib", "peak resident memory at full speed, window empty", _MOST, 160, " MiB"),
    Goal("bytes_per_key", "memory of a key in the window", _MOST, 110, " B"),
    Goal("growth_million", "cost per event at 1,000,000 ÷ at 100,000", _MOST, 1.1),
    Goal("growth_ten_million", "cost per event at 10,000,000 ÷ at 1,000,000", _MOST, 1.1),
    Goal("growth_partitions", "cost per event with 60 partitions ÷ with 6", _MOST, 1.1),
    Goal("growth_applications", "cost per event with 20 applications ÷ with 3", _MOST, 1.1),
    Goal("two_processes", "rate of two processes ÷ of one, 0.35 of a core each", _LEAST, 1.8),
    Goal(
        "p50_ms_1000", "latency, record to 200, 1,000 events/s, linger 1 s, p50", _MOST, 600, " ms"
    ),
    Goal("p99_ms_1000", "the same, p99", _MOST, 1_200, " ms"),
    Goal("p99_ms_50", "the same with linger 50 ms, p99", _MOST, 150, " ms"),
    Goal("idle_percent", "idle CPU, 60 partitions", _MOST, 1, " %"),
    Goal("start_ratio", "start to first row ÷ importing aiokafka and aiohttp", _MOST, 2),
    Goal("stall_ms", "longest stall of the event loop at full speed, p99.9", _MOST, 50, " ms"),
)


def verdict(goal: Goal, figures: Mapping[str, float], *, is_compiled: bool) -> str:
    """`yes`, `no`, or that nothing is known."""
    if goal.key not in figures:
        return "not measured"
    return "yes" if goal.is_reached(figures[goal.key], is_compiled=is_compiled) else "**no**"

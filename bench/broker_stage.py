"""What a scenario works with: the sizes, a broker with filled topics, and samples of figures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench import publishing
from bench.contenders import Feed
from bench.events import SHAPES, valid_rows
from bench.publishing import Records
from worker.sandbox.topics import create_topics

PARTITIONS = 6

Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    `million` are the events of the scenarios that only `make bench-full` has; `counted_events` are
    those of a count of instructions, 0: nothing is counted.
    """

    events: int = 225_000
    rounds: int = 5
    delays_ms: tuple[int, ...] = (0, 50, 200, 500)
    latency_seconds: int = 10
    idle_seconds: float = 10.0
    idle_partitions: int = 60
    starts: int = 3
    outage_seconds: float = 8.0
    million: int = 1_000_000
    repeats: int = 2
    stage_events: int = 30_000
    stage_repeats: int = 5
    counted_events: int = 6_000


@dataclass
class Stage:
    """A broker, its topics, and what is measured on it."""

    bootstrap_servers: str
    sizes: Sizes
    quix_python: str = ""
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    _feeds: dict[tuple[Records, int], Feed] = field(default_factory=dict)

    def topic(self, partitions: int = PARTITIONS) -> str:
        """A new topic, with its dead-letter topic and its parking topic."""
        name = f"bench-{len(self._feeds)}-{os.urandom(3).hex()}"
        topics = {name: partitions, f"{name}.dlq": 1, f"{name}.parked": 1}
        asyncio.run(create_topics(self.bootstrap_servers, topics))
        return name

    def feed(self, records: Records, partitions: int = PARTITIONS) -> Feed:
        """A topic with these records; it is filled once."""
        found = self._feeds.get((records, partitions))
        if found is None:
            name = self.topic(partitions)
            publishing.publish(self.bootstrap_servers, name, records)
            rows = valid_rows(SHAPES[records.shape], records.distinct or records.count)
            found = Feed(self.bootstrap_servers, name, records.count, rows)
            self._feeds[records, partitions] = found
        return found

    def rich(self) -> Feed:
        """The topic that most scenarios read."""
        return self.feed(Records("rich", self.sizes.events))


def add(samples: Samples, figures: Mapping[str, float]) -> None:
    """Add one sample to each of these figures."""
    for name, value in figures.items():
        samples.setdefault(name, []).append(value)


def latest(samples: Samples) -> str:
    """The last sample of each figure, to be printed."""
    return ", ".join(f"{name} {values[-1]:,.2f}" for name, values in samples.items())


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered values lies; 0 for none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

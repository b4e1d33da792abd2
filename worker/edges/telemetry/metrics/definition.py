"""What defines a metric: a row of the tables in this package.

To add a metric, add a row to the table of its subject. The scrape, the HELP text and
`docs/metrics.md` (`make schema`) follow from the row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worker.core.counters.counters import Counters, Histogram, TopicCounters
from worker.core.counters.snapshot import HoldStatus, ThrottleStatus
from worker.edges.telemetry.reading import Reading

PREFIX = "appmetrica_worker_"
# Bounds of a scrape: values of labels come from producers and from the configuration.
APPLICATIONS_MAX = 100
LABEL_CHARACTERS_MAX = 120
OTHER = "(other)"

# The values of a sample's labels, in the order of the metric's label names.
Labels = tuple[str, ...]
Value = TypeVar("Value", bound=float | Histogram)
# Reads the samples. A label set that is missing in the result is missing in the scrape.
Read = Callable[[Reading], Mapping[Labels, Value]]


@dataclass(frozen=True, slots=True)
class Definition:
    """What a metric of any type has.

    Attributes:
        name: without the prefix; a counter's name ends in `_total`.
        labels: the names of its labels.
        meaning: what it measures: one or two sentences.
        action: what to do when it looks wrong; empty where there is nothing to do.
    """

    name: str
    labels: tuple[str, ...]
    meaning: str
    action: str

    @property
    def help(self) -> str:
        """The HELP text of a scrape."""
        return f"{self.meaning} {self.action}".rstrip()


@dataclass(frozen=True, slots=True)
class CounterMetric(Definition):
    """A count since the start of the process."""

    read: Read[float]


@dataclass(frozen=True, slots=True)
class GaugeMetric(Definition):
    """A value at this moment."""

    read: Read[float]


@dataclass(frozen=True, slots=True)
class HistogramMetric(Definition):
    """Observed values by bucket, since the start of the process."""

    read: Read[Histogram]


Metric = CounterMetric | GaugeMetric | HistogramMetric


def single(read: Callable[[Reading], Value]) -> Read[Value]:
    """Read a metric without labels."""
    return lambda reading: {(): read(reading)}


def by_topic(read: Callable[[TopicCounters], float]) -> Read[float]:
    """Read a metric with the label `topic` from the counters of each topic."""
    return lambda reading: {
        (topic,): read(counters) for topic, counters in reading.snapshot.counters.topics.items()
    }


def by_count(read: Callable[[Counters], Counter[str]], known: tuple[str, ...] = ()) -> Read[float]:
    """Read a metric with one label from a counter of its values.

    Args:
        read: the counter.
        known: values that are shown as 0 from the first scrape on: an alert on a rate needs a
            first sample.
    """

    def samples(reading: Reading) -> dict[Labels, float]:
        counts = read(reading.snapshot.counters)
        return {(value,): counts[value] for value in sorted({*counts, *known})}

    return samples


def by_application(read: Callable[[Reading], Iterable[HoldStatus | ThrottleStatus]]) -> Read[float]:
    """Read a metric with the labels `application_id` and `reason`.

    Beyond `APPLICATIONS_MAX` applications, further ones are counted together as `OTHER`.
    """

    def samples(reading: Reading) -> Counter[Labels]:
        counts: Counter[Labels] = Counter()
        for number, one in enumerate(read(reading)):
            application = str(one.application_id) if number < APPLICATIONS_MAX else OTHER
            counts[application, one.reason] += 1
        return counts

    return samples


def by_state(read: Callable[[Reading], str], states: Sequence[str]) -> Read[float]:
    """Read a metric with the label `state`: 1 for the current state, 0 for the others."""
    return lambda reading: {(state,): float(read(reading) == state) for state in states}

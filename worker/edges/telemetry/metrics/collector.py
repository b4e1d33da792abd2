"""All metrics, rendered for a scrape.

Nothing is counted here: the core counts where things happen, and a scrape reads the counts. So a
metric costs nothing per record, and the gauge of a revoked partition is gone with the partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from prometheus_client import core
from prometheus_client.registry import Collector

from worker.core.counters.counters import Histogram
from worker.edges.telemetry.metrics.definition import (
    PREFIX,
    CounterMetric,
    GaugeMetric,
    HistogramMetric,
    Metric,
)
from worker.edges.telemetry.metrics.delivery import DELIVERY
from worker.edges.telemetry.metrics.forecasts import FORECASTS
from worker.edges.telemetry.metrics.kafka import KAFKA
from worker.edges.telemetry.metrics.process import PROCESS
from worker.edges.telemetry.metrics.records import RECORDS
from worker.edges.telemetry.reading import Reading

METRICS: tuple[Metric, ...] = (*RECORDS, *DELIVERY, *KAFKA, *FORECASTS, *PROCESS)


class WorkerCollector(Collector):
    """Turns one reading into all metrics, so that they agree with each other.

    Args:
        read: takes a reading; called once per scrape.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read

    def describe(self) -> Iterable[core.Metric]:
        """Return nothing: registering must not take a reading."""
        return ()

    def collect(self) -> Iterable[core.Metric]:
        """Return every metric at this moment."""
        reading = self._read()
        return [_family(metric, reading) for metric in METRICS]


def _family(metric: Metric, reading: Reading) -> core.Metric:
    name, labels = PREFIX + metric.name, metric.labels
    match metric:
        case CounterMetric():
            counter = core.CounterMetricFamily(name, metric.help, labels=labels)
            for values, number in metric.read(reading).items():
                counter.add_metric(values, number)
            return counter
        case GaugeMetric():
            gauge = core.GaugeMetricFamily(name, metric.help, labels=labels)
            for values, number in metric.read(reading).items():
                gauge.add_metric(values, number)
            return gauge
        case HistogramMetric():
            family = core.HistogramMetricFamily(name, metric.help, labels=labels)
            for values, histogram in metric.read(reading).items():
                family.add_metric(values, _buckets(histogram), histogram.sum)
            return family
        case _:
            assert_never(metric)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return [
        (bound, float(count)) for bound, count in zip(bounds, histogram.cumulative(), strict=True)
    ]

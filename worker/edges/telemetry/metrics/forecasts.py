"""Metrics of the future: what follows if the rates of the last minutes continue."""

from __future__ import annotations

from collections.abc import Callable

from worker.core.counters.forecast import Forecast
from worker.edges.telemetry.metrics.definition import GaugeMetric, Labels, Read
from worker.edges.telemetry.reading import Reading


def _known(read: Callable[[Forecast], float | None]) -> Read[float]:
    """Read a forecast; it has no sample while it is not known."""

    def samples(reading: Reading) -> dict[Labels, float]:
        value = read(reading.forecast)
        return {} if value is None else {(): value}

    return samples


FORECASTS = (
    GaugeMetric(
        "events_expiring_within_seconds",
        ("window",),
        "Events that wait for delivery in this worker and pass limits.event_age_seconds_max within "
        "this many seconds: an hour, six hours, a day.",
        "Above 0: they are lost unless they are delivered in time. See application_held.",
        lambda reading: {
            (str(window),): rows for window, rows in reading.snapshot.expiring_rows.items()
        },
    ),
    GaugeMetric(
        "settled_records_per_second",
        (),
        "Records settled per second in the last 5 minutes; absent until it is measured.",
        "",
        _known(lambda forecast: forecast.settled_per_second),
    ),
    GaugeMetric(
        "produced_records_per_second",
        (),
        "Records produced per second to the assigned partitions in the last 5 minutes; absent "
        "until it is measured.",
        "",
        _known(lambda forecast: forecast.produced_per_second),
    ),
    GaugeMetric(
        "lag_drain_seconds",
        (),
        "Time until the lag of the assigned partitions is gone; +Inf: it does not fall.",
        "+Inf for long: see application_held, breaker_state and requests_in_flight_limit; "
        "otherwise add workers, see desired_replicas.",
        _known(lambda forecast: forecast.lag_drain_seconds),
    ),
    GaugeMetric(
        "oldest_event_seconds_left",
        (),
        "Time until the oldest event that waits in this worker passes limits.event_age_seconds_max "
        "and is lost; absent while none waits.",
        "Small: find what delays it: see application_held and consumer_lag_records.",
        _known(lambda forecast: forecast.oldest_event_seconds_left),
    ),
    GaugeMetric(
        "loss_begins_seconds",
        (),
        "Time until the first event is too old and is lost, waiting events and later ones "
        "included; +Inf: none will be.",
        "Finite: the lag has to fall faster. See lag_drain_seconds.",
        _known(lambda forecast: forecast.loss_begins_seconds),
    ),
    GaugeMetric(
        "desired_replicas",
        (),
        "How many workers the assigned partitions need. Summed over all workers and rounded up: "
        "the number of workers for the group. It is 1 until the worker's speed is known, and "
        "at most 1 while the API holds, throttles or fails.",
        "Scale by ceil(sum(appmetrica_worker_desired_replicas)).",
        _known(lambda forecast: forecast.desired_replicas),
    ),
)

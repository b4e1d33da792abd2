"""Metrics of delivery: batches, requests to the API, holds, and the clocks that both use."""

from __future__ import annotations

from worker.core.model.clock import Trust
from worker.edges.telemetry.metrics.definition import (
    CounterMetric,
    GaugeMetric,
    HistogramMetric,
    Labels,
    by_application,
    by_count,
    by_state,
    single,
)
from worker.edges.telemetry.reading import Reading


def _clock_ahead_seconds(reading: Reading) -> dict[Labels, float]:
    seconds = reading.snapshot.clock.seconds_ahead
    return {} if seconds is None else {(): seconds}


DELIVERY = (
    CounterMetric(
        "batch_flush_total",
        ("trigger",),
        "Sealed batches, by trigger: rows, bytes, linger, drain, order.",
        "Mostly linger under load: see batch_rows.",
        by_count(lambda counters: counters.flushes, ("rows", "bytes", "linger", "drain", "order")),
    ),
    HistogramMetric(
        "batch_rows",
        (),
        "Rows of a sealed batch.",
        "Small under load: too many applications, or batching.linger_seconds is too short.",
        single(lambda reading: reading.snapshot.counters.batch_rows),
    ),
    HistogramMetric(
        "batch_bytes",
        (),
        "Bytes of the body of a sealed batch.",
        "",
        single(lambda reading: reading.snapshot.counters.batch_bytes),
    ),
    CounterMetric(
        "batches_total",
        ("result",),
        "Requests by the meaning of their answer: delivered, refused, too_large, retried, "
        "ambiguous, held.",
        "Requests that are ambiguous are the source of duplicates: see rows_ambiguous_total.",
        by_count(
            lambda counters: counters.batches,
            ("delivered", "refused", "too_large", "retried", "ambiguous", "held"),
        ),
    ),
    CounterMetric(
        "rows_ambiguous_total",
        (),
        "Rows of requests without an answer (time-out, reset, 504). The API may have loaded "
        "them, and they are sent again: the maximum number of duplicate rows.",
        "Rises: check the network and proxies between worker and API.",
        single(lambda reading: reading.snapshot.counters.ambiguous_rows),
    ),
    CounterMetric(
        "http_requests_total",
        ("code",),
        "Requests to the API, by HTTP status or transport fault.",
        "5xx or transport faults: the API or the network fails; the worker retries by itself. "
        "401 or 403: see application_held.",
        by_count(lambda counters: counters.requests, ("200",)),
    ),
    CounterMetric(
        "http_retries_total",
        ("reason",),
        "Requests sent again, by reason.",
        "http_429: the API throttles; lower delivery.requests_per_second_max. Others: see "
        "http_requests_total.",
        by_count(
            lambda counters: counters.retries,
            ("http_503", "http_429", "connect_failed", "timeout", "connection_lost"),
        ),
    ),
    HistogramMetric(
        "http_request_duration_seconds",
        ("outcome",),
        "Time from the start of a request to its answer.",
        "Rises: the API is slow; the worker lowers the number of requests in flight by itself.",
        lambda reading: {
            (outcome,): histogram
            for outcome, histogram in reading.snapshot.counters.request_seconds.items()
        },
    ),
    HistogramMetric(
        "delivery_latency_seconds",
        (),
        "Time from a record's Kafka timestamp to its 200.",
        "Rises: see consumer_lag_records and http_request_duration_seconds.",
        single(lambda reading: reading.snapshot.counters.delivery_latency_seconds),
    ),
    HistogramMetric(
        "event_age_seconds",
        (),
        "Time from an event's own time to its 200.",
        "Near 14 days: events will soon be refused as too old. Find what delays them.",
        single(lambda reading: reading.snapshot.counters.event_age_seconds),
    ),
    GaugeMetric(
        "last_delivery_timestamp_seconds",
        (),
        "Unix time of the last 200; 0: never.",
        "Old although there is lag: see application_held and http_requests_total.",
        single(lambda reading: reading.snapshot.counters.last_delivery_unix_seconds),
    ),
    GaugeMetric(
        "application_held",
        ("application_id", "reason"),
        "1 while an application is on hold: the API refuses it for a reason that is not in its "
        "rows. Beyond 100 applications, further ones are counted as (other).",
        "http_401 or http_403: fix the key. refused_systemically: more than half of a batch is "
        "refused. See docs/troubleshooting.md#an-application-is-on-hold.",
        by_application(lambda reading: reading.snapshot.holds),
    ),
    GaugeMetric(
        "application_throttled",
        ("application_id", "reason"),
        "1 while the API throttles an application. Beyond 100 applications, further ones are "
        "counted as (other).",
        "For long: ask for a higher limit, or lower delivery.requests_per_second_max.",
        by_application(lambda reading: reading.snapshot.throttles),
    ),
    GaugeMetric(
        "breaker_state",
        ("state",),
        "1 for the state of the API's breaker. closed: requests are sent. open: the API fails, "
        "and nothing is sent. probing: one request asks whether it works again. ramping: it does, "
        "and more are sent step by step.",
        "open: see http_requests_total for what fails; the worker resumes by itself.",
        by_state(
            lambda reading: reading.snapshot.destination.breaker,
            ("closed", "open", "probing", "ramping"),
        ),
    ),
    GaugeMetric(
        "requests_in_flight",
        (),
        "Requests to the API without an answer at this moment.",
        "At requests_in_flight_limit while the lag grows: the API limits the speed.",
        single(lambda reading: reading.snapshot.destination.requests_in_flight),
    ),
    GaugeMetric(
        "requests_in_flight_limit",
        (),
        "Requests that may be in flight at once: at most delivery.requests_in_flight_max, fewer "
        "while the API is slow or fails.",
        "Low for long: see http_request_duration_seconds and http_requests_total.",
        single(lambda reading: reading.snapshot.destination.requests_in_flight_limit),
    ),
    GaugeMetric(
        "key_files_unusable",
        (),
        "Applications whose key file can't be read or holds no valid key; the previous key stays "
        "in use.",
        "See the log lines key_not_read and key_not_usable for path and reason.",
        single(lambda reading: len(reading.key_files_unusable)),
    ),
    GaugeMetric(
        "clock_doubted",
        (),
        "1 while the local clock and the API's clock differ by more than "
        "limits.clock_difference_seconds_max; nothing is received.",
        "Set the clock of the node; the worker resumes by itself.",
        single(lambda reading: reading.snapshot.clock.trust is Trust.DOUBTED),
    ),
    GaugeMetric(
        "clock_ahead_seconds",
        (),
        "Seconds that the local clock is ahead of the API's clock; absent until the API has "
        "answered with a date.",
        "Not near 0: synchronise the clock of the node.",
        _clock_ahead_seconds,
    ),
)

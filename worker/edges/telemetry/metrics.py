"""The metrics of the worker, collected from a snapshot when they are scraped.

Nothing is counted here: the account is kept where things happen, and a scrape reads it. So no
metric costs anything per record, and a gauge of a partition that is gone is gone as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from worker.core.counters.counters import Histogram, TopicAccount
from worker.core.counters.snapshot import Snapshot
from worker.core.model.fault import Reason
from worker.core.model.record import Assignment, End
from worker.edges.telemetry.plain_values import printable, text

PREFIX = "appmetrica_worker_"

# Label values that are known beforehand are there from the first scrape, at 0: an alert on a rate
# needs a first sample.
_KNOWN: dict[str, tuple[str, ...]] = {
    "batches_total": ("delivered", "refused", "too_large", "retried", "ambiguous", "held"),
    "batch_flush_total": ("rows", "bytes", "linger", "drain"),
    "http_requests_total": ("200",),
    "http_retries_total": ("http_503", "http_429", "connect_failed", "timeout", "connection_lost"),
    "commits_total": ("committed", "failed"),
    "consumer_rebalances_total": ("assigned", "revoked", "lost"),
    "log_messages_total": ("debug", "info", "warning", "error"),
}


@dataclass(frozen=True, slots=True)
class Readings:
    """What the metrics are read from, besides constants: each is called once a scrape."""

    snapshot: Callable[[], Snapshot]
    ends: Callable[[], Mapping[Assignment, End]]
    log_counts: Callable[[], Mapping[str, int]]
    log_lines_dropped: Callable[[], int]
    loop_lag_seconds: Callable[[], Histogram]
    is_ready: Callable[[], bool]
    rebuilds: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Identification:
    """What runs here. `parking_topics` is the parking topic of each topic that has one."""

    version: str
    config_hash: str
    topics: tuple[str, ...]
    parking_topics: Mapping[str, str]


class WorkerCollector(Collector):
    """Turns one snapshot into all metrics."""

    def __init__(self, readings: Readings, identification: Identification) -> None:
        self._readings = readings
        self._identification = identification
        self._homes = {parking: topic for topic, parking in identification.parking_topics.items()}

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not take a snapshot."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every metric, from one snapshot, so that they agree with each other."""
        snapshot = self._readings.snapshot()
        yield from self._of_records(snapshot)
        yield from self._of_delivery(snapshot)
        yield from self._of_consumer(snapshot)
        yield from self._of_process(snapshot)

    def _of_records(self, snapshot: Snapshot) -> Iterable[Metric]:
        topics = snapshot.account.topics
        yield _counter(
            "records_consumed_total",
            "Records received from Kafka",
            "topic",
            {t: a.consumed for t, a in topics.items()},
        )
        yield _counter(
            "records_consumed_bytes_total",
            "Bytes of the values received",
            "topic",
            {t: a.consumed_bytes for t, a in topics.items()},
        )
        yield _counter(
            "records_delivered_total",
            "Records answered 200 by the API",
            "topic",
            {t: a.delivered for t, a in topics.items()},
        )
        yield _counter(
            "records_deduplicated_total",
            "Records dropped as duplicates of delivered records",
            "topic",
            {t: a.duplicates for t, a in topics.items()},
        )
        rejected = CounterMetricFamily(
            PREFIX + "records_rejected_total",
            "Records found undeliverable, by the reason of their first fault",
            labels=("topic", "reason"),
        )
        dead_lettered = CounterMetricFamily(
            PREFIX + "dlq_records_total",
            "Records acknowledged by the dead-letter topic",
            labels=("topic", "reason"),
        )
        for topic, account in topics.items():
            for reason in Reason:
                rejected.add_metric((topic, reason.value), account.rejected[reason])
                dead_lettered.add_metric((topic, reason.value), account.dead_lettered[reason])
        yield rejected
        yield dead_lettered
        yield from _of_contents(topics)
        yield _counter(
            "records_skipped_settled_total",
            "Records received again and skipped, because the commit metadata names them as settled",
            "topic",
            {t: a.skipped_settled for t, a in topics.items()},
        )
        yield _counter(
            "hints_ignored_total",
            "Commits whose metadata was ignored: damaged, or written by another program",
            "topic",
            {t: a.hints_ignored for t, a in topics.items()},
        )
        yield _counter(
            "parking_records_total",
            "Records acknowledged by the parking topic",
            "topic",
            {t: a.parked for t, a in topics.items()},
        )
        yield _counter(
            "events_ahead_total",
            "Delivered events whose time was ahead of the worker's clock; their age counts as 0",
            "topic",
            {t: a.events_ahead for t, a in topics.items()},
        )
        yield _counter(
            "records_ahead_total",
            "Delivered records whose timestamp was ahead of the worker's clock; their latency "
            "counts as 0",
            "topic",
            {t: a.records_ahead for t, a in topics.items()},
        )
        yield _counter(
            "records_undated_total",
            "Delivered records without a timestamp; they have no latency",
            "topic",
            {t: a.records_undated for t, a in topics.items()},
        )
        yield _counter(
            "offsets_skipped_total",
            "Offsets that were deleted on the broker before they were read; their records are lost",
            "topic",
            {t: a.offsets_skipped for t, a in topics.items()},
        )
        yield _counter(
            "log_truncations_total",
            "Truncations of a partition's log below what the group had read, after an unclean "
            "election",
            "topic",
            {t: a.log_truncations for t, a in topics.items()},
        )

    def _of_delivery(self, snapshot: Snapshot) -> Iterable[Metric]:
        account = snapshot.account
        yield _counter(
            "batches_total", "Requests by the meaning of their answer", "result", account.batches
        )
        yield _counter("batch_flush_total", "Sealed batches by trigger", "trigger", account.flushes)
        yield _counter(
            "http_requests_total",
            "Requests by HTTP status or transport fault",
            "code",
            account.requests,
        )
        yield _counter(
            "http_retries_total", "Requests sent again, by reason", "reason", account.retries
        )
        yield _plain_counter(
            "parking_publish_failures_total",
            "Failed attempts to park records; consumption is paused until it succeeds",
            account.parking_failures,
        )
        yield _plain_counter(
            "rows_ambiguous_total",
            "Rows in requests without an answer; the API may have loaded them, so they may be "
            "delivered twice",
            account.ambiguous_rows,
        )
        yield _plain_counter(
            "dlq_publish_failures_total",
            "Failed attempts to write dead letters; consumption is paused until it succeeds",
            account.dead_letter_failures,
        )
        seconds = HistogramMetricFamily(
            PREFIX + "http_request_duration_seconds",
            "Time from the start of a request to its answer",
            labels=("outcome",),
        )
        for outcome, histogram in account.request_seconds.items():
            seconds.add_metric((outcome,), _buckets(histogram), histogram.sum)
        yield seconds
        yield _histogram(
            "delivery_latency_seconds",
            "Time from a record's timestamp to its 200",
            account.delivery_latency_seconds,
        )
        yield _histogram(
            "event_age_seconds",
            "Time from an event's own time to its 200",
            account.event_age_seconds,
        )
        yield _histogram("batch_rows", "Rows per sealed batch", account.batch_rows)
        yield _histogram("batch_bytes", "Bytes of the body of a sealed batch", account.batch_bytes)
        held = GaugeMetricFamily(
            PREFIX + "application_held",
            "1 while an application is on hold",
            labels=("application_id", "reason"),
        )
        for hold in snapshot.holds:
            held.add_metric((str(hold.application_id), hold.reason), 1)
        yield held
        is_doubted = snapshot.clock.trust == "doubted"
        yield _plain_gauge(
            "clock_doubted",
            "1 while the local clock and the API's clock differ too much; consumption is paused",
            is_doubted,
        )
        if snapshot.clock.seconds_ahead is not None:
            yield _plain_gauge(
                "clock_ahead_seconds",
                "Seconds that the local clock is ahead of the API's clock",
                snapshot.clock.seconds_ahead,
            )

    def _of_consumer(self, snapshot: Snapshot) -> Iterable[Metric]:
        account = snapshot.account
        yield _counter("commits_total", "Commits by result", "result", account.commits)
        yield _counter(
            "consumer_rebalances_total",
            "Rebalances by event: partitions assigned, revoked or lost",
            "event",
            account.rebalances,
        )
        yield _histogram("commit_duration_seconds", "Duration of commits", account.commit_seconds)
        yield from self._of_ends(snapshot)
        assigned = dict.fromkeys(self._identification.topics, 0)
        for partition in snapshot.partitions:
            assigned[partition.assignment.topic] += 1
        yield _plain_counter(
            "consumer_rebuilds_total",
            "Kafka consumers replaced because they did not recover",
            self._readings.rebuilds(),
        )
        yield _gauge(
            "consumer_assigned_partitions", "Partitions assigned to this worker", "topic", assigned
        )
        paused = sum(1 for partition in snapshot.partitions if partition.is_paused)
        yield _plain_gauge(
            "consumer_paused", "Partitions paused at the limit of their span or of memory", paused
        )

    def _of_ends(self, snapshot: Snapshot) -> Iterable[Metric]:
        ends = self._readings.ends()
        lag = GaugeMetricFamily(
            PREFIX + "consumer_lag_records",
            "Offsets between the safe position and the end of the partition",
            labels=("topic", "partition"),
        )
        transaction = GaugeMetricFamily(
            PREFIX + "records_behind_transaction",
            "Written offsets that can't be read yet, because an open transaction precedes them",
            labels=("topic", "partition"),
        )
        parked = dict.fromkeys(self._identification.parking_topics, 0)
        for partition in snapshot.partitions:
            topic, number, _ = partition.assignment
            if (end := ends.get(partition.assignment)) is None:
                continue
            behind = max(0, end.stable - partition.safe_position)
            lag.add_metric((topic, str(number)), behind)
            transaction.add_metric((topic, str(number)), end.behind_transaction)
            if topic in self._homes:
                parked[self._homes[topic]] += behind
        yield lag
        yield transaction
        yield _gauge(
            "records_parked",
            "Records in the parking topic that are not redelivered yet",
            "topic",
            parked,
        )

    def _of_process(self, snapshot: Snapshot) -> Iterable[Metric]:
        account = snapshot.account
        version = GaugeMetricFamily(
            PREFIX + "build_info", "Version of the worker", labels=("version",)
        )
        version.add_metric((self._identification.version,), 1)
        yield version
        config = GaugeMetricFamily(
            PREFIX + "config_info", "Digest of the configuration in use", labels=("config_hash",)
        )
        config.add_metric((self._identification.config_hash,), 1)
        yield config
        yield _plain_gauge(
            "ready",
            "1 while the worker is a member of its group, with or without partitions, and is not "
            "stopping",
            int(self._readings.is_ready()),
        )
        yield _gauge("records_outstanding", "Records held, by stage", "stage", snapshot.rows)
        yield _plain_gauge("buffer_bytes", "Bytes of records held in memory", snapshot.held_bytes)
        yield _plain_gauge(
            "dedup_window_rows", "Remembered keys of delivered events", snapshot.dedup_window_rows
        )
        yield _counter(
            "dedup_keys_evicted_total",
            "Remembered keys dropped before dedup.window_seconds, because the window was full",
            "topic",
            snapshot.dedup_keys_evicted,
        )
        yield _plain_gauge(
            "accounting_imbalance_records",
            "Records that the accounting can't explain; always 0",
            snapshot.imbalance,
        )
        yield _plain_gauge(
            "last_poll_timestamp_seconds",
            "Time when records were last received",
            account.last_poll_unix_seconds,
        )
        yield _plain_gauge(
            "last_delivery_timestamp_seconds",
            "Time of the last 200",
            account.last_delivery_unix_seconds,
        )
        yield _plain_gauge(
            "last_commit_timestamp_seconds",
            "Time of the last successful commit",
            account.last_commit_unix_seconds,
        )
        yield _plain_gauge(
            "oldest_unsettled_event_timestamp_seconds",
            "Time of the oldest event that waits for delivery, 0 for none",
            snapshot.oldest_event_timestamp or 0,
        )
        yield _histogram(
            "loop_lag_seconds",
            "Delay of the turns of the event loop",
            self._readings.loop_lag_seconds(),
        )
        yield _counter(
            "log_messages_total", "Log messages by level", "level", self._readings.log_counts()
        )
        yield _plain_counter(
            "log_lines_dropped_total",
            "Log lines dropped because standard error was not read in time or could not be written",
            self._readings.log_lines_dropped(),
        )


def _of_contents(topics: Mapping[str, TopicAccount]) -> Iterable[Metric]:
    unusual = CounterMetricFamily(
        PREFIX + "unusual_values_total",
        "Values that the API's documentation doesn't list; they are delivered",
        labels=("topic", "field"),
    )
    drifts = CounterMetricFamily(
        PREFIX + "contract_drifts_total",
        "Fields that differ from the contract: unknown fields, and fields of a wrong JSON type",
        labels=("topic", "event_name", "field", "change"),
    )
    for topic, account in topics.items():
        for name, count in account.remarks.unusual_values.items():
            unusual.add_metric((topic, name), count)
        for drift, count in account.remarks.drifts.items():
            # Names of the producers' own.
            drifts.add_metric((topic, *(printable(text(label)) for label in drift)), count)
    yield unusual
    yield drifts


def _counter(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, help_text, labels=(label,))
    for value in sorted({*values, *_KNOWN.get(name, ())}):
        family.add_metric((value,), values.get(value, 0))
    return family


def _plain_counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, help_text, value=value)


def _gauge(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, help_text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _plain_gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, help_text, value=value)


def _histogram(name: str, help_text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(
        PREFIX + name, help_text, buckets=_buckets(histogram), sum_value=histogram.sum
    )


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return [
        (bound, float(count)) for bound, count in zip(bounds, histogram.cumulative(), strict=True)
    ]

"""The metrics as a scrape shows them: each with the value that it means."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests import metrics_page
from tests.builders import make_assignment
from tests.readings import PARKED, TOPIC, make_reading, make_registry
from worker.core.counters.forecast import Forecast
from worker.core.counters.snapshot import HoldStatus, PartitionStatus, ThrottleStatus
from worker.core.model.clock import ClockStatus, Trust
from worker.core.model.fault import Reason
from worker.core.model.record import End
from worker.edges.telemetry.metrics.collector import METRICS
from worker.edges.telemetry.metrics.definition import (
    APPLICATIONS_MAX,
    LABEL_CHARACTERS_MAX,
    PREFIX,
    CounterMetric,
    GaugeMetric,
    HistogramMetric,
)
from worker.edges.telemetry.reading import Reading

# What operators build on; the names are fixed.
COUNTERS = """
records_consumed_total{topic} records_consumed_bytes_total{topic}
records_rejected_total{topic,reason} records_deduplicated_total{topic,by}
records_without_key_total{topic,why} records_skipped_total{topic,reason}
records_delivered_total{topic} batches_total{result} batch_flush_total{trigger}
http_requests_total{code} http_retries_total{reason} commits_total{result}
consumer_rebalances_total{event} consumer_rebuilds_total dlq_records_total{topic,reason}
dlq_publish_failures_total offsets_skipped_total{topic} log_messages_total{level}
""".split()
HISTOGRAMS = """
http_request_duration_seconds{outcome} delivery_latency_seconds event_age_seconds batch_rows
batch_bytes commit_duration_seconds loop_lag_seconds
""".split()
GAUGES = """
build_info{version} config_info{config_hash} ready consumer_lag_records{topic,partition}
consumer_assigned_partitions{topic} consumer_paused records_outstanding{stage} buffer_bytes
application_held{application_id,reason} records_parked{topic} dedup_window_rows
last_poll_timestamp_seconds last_delivery_timestamp_seconds last_commit_timestamp_seconds
oldest_unsettled_event_timestamp_seconds accounting_imbalance_records
""".split()

# A sample, as in a scrape and without the prefix, and the value that `make_reading` gives it.
VALUES: dict[str, float] = {
    f'records_consumed_total{{topic="{TOPIC}"}}': 100,
    f'records_consumed_bytes_total{{topic="{TOPIC}"}}': 9000,
    f'records_delivered_total{{topic="{TOPIC}"}}': 61,
    f'records_deduplicated_total{{by="key",topic="{TOPIC}"}}': 9,
    f'records_deduplicated_total{{by="content",topic="{TOPIC}"}}': 3,
    f'records_without_key_total{{topic="{TOPIC}",why="missing"}}': 23,
    f'records_skipped_total{{reason="tombstone",topic="{TOPIC}"}}': 25,
    f'records_skipped_total{{reason="not_selected",topic="{TOPIC}"}}': 0,
    f'records_rejected_total{{reason="missing",topic="{TOPIC}"}}': 8,
    f'records_rejected_total{{reason="too_old",topic="{TOPIC}"}}': 0,
    f'dlq_records_total{{reason="missing",topic="{TOPIC}"}}': 7,
    f'parking_records_total{{topic="{TOPIC}"}}': 5,
    f'unusual_values_total{{field="os_name",topic="{TOPIC}"}}': 21,
    'contract_drifts_total{change="unknown",event_name="purchase",field="colour",'
    f'topic="{TOPIC}"}}': 22,
    f'records_skipped_settled_total{{topic="{TOPIC}"}}': 16,
    f'hints_ignored_total{{topic="{TOPIC}"}}': 17,
    f'offsets_skipped_total{{topic="{TOPIC}"}}': 14,
    f'log_truncations_total{{topic="{TOPIC}"}}': 15,
    f'events_ahead_total{{topic="{TOPIC}"}}': 18,
    f'records_ahead_total{{topic="{TOPIC}"}}': 19,
    f'records_undated_total{{topic="{TOPIC}"}}': 20,
    'records_outstanding{stage="linked"}': 1,
    'records_outstanding{stage="in_flight"}': 4,
    'records_outstanding{stage="dead_letter"}': 0,
    "accounting_imbalance_records": -2,
    "oldest_unsettled_event_timestamp_seconds": 1_700_000_000,
    'batch_flush_total{trigger="linger"}': 24,
    'batch_flush_total{trigger="drain"}': 0,
    'batch_rows_bucket{le="10.0"}': 0,
    'batch_rows_bucket{le="50.0"}': 1,
    "batch_rows_sum": 40,
    "batch_bytes_sum": 4000,
    'batches_total{result="delivered"}': 23,
    'batches_total{result="held"}': 0,
    "rows_ambiguous_total": 30,
    'http_requests_total{code="200"}': 25,
    'http_requests_total{code="503"}': 26,
    'http_retries_total{reason="http_503"}': 27,
    'http_retries_total{reason="timeout"}': 0,
    'http_request_duration_seconds_bucket{le="0.01",outcome="delivered"}': 0,
    'http_request_duration_seconds_bucket{le="0.025",outcome="delivered"}': 1,
    'http_request_duration_seconds_bucket{le="+Inf",outcome="delivered"}': 1,
    'http_request_duration_seconds_count{outcome="delivered"}': 1,
    'http_request_duration_seconds_sum{outcome="delivered"}': 0.02,
    "delivery_latency_seconds_sum": 0.3,
    "event_age_seconds_sum": 3000,
    "last_delivery_timestamp_seconds": 1_700_000_034,
    'application_held{application_id="1111",reason="http_403"}': 1,
    'application_throttled{application_id="2222",reason="http_429"}': 1,
    'breaker_state{state="closed"}': 0,
    'breaker_state{state="open"}': 1,
    'breaker_state{state="probing"}': 0,
    'breaker_state{state="ramping"}': 0,
    "requests_in_flight": 3,
    "requests_in_flight_limit": 8,
    "key_files_unusable": 1,
    "clock_doubted": 1,
    "clock_ahead_seconds": 1_296_000.5,
    f'consumer_lag_records{{partition="3",topic="{TOPIC}"}}': 6,
    f'records_behind_transaction{{partition="3",topic="{TOPIC}"}}': 7,
    f'records_parked{{topic="{TOPIC}"}}': 4,
    f'consumer_assigned_partitions{{topic="{TOPIC}"}}': 1,
    f'consumer_assigned_partitions{{topic="{PARKED}"}}': 1,
    f'partitions_unreadable{{topic="{TOPIC}"}}': 1,
    f'partitions_unreadable{{topic="{PARKED}"}}': 0,
    "consumer_paused": 1,
    "last_poll_timestamp_seconds": 1_700_000_033,
    'consumer_rebalances_total{event="lost"}': 29,
    'consumer_rebalances_total{event="assigned"}': 0,
    "consumer_rebuilds_total": 40,
    'commits_total{result="committed"}': 28,
    'commits_total{result="failed"}': 0,
    "commit_duration_seconds_sum": 0.2,
    "last_commit_timestamp_seconds": 1_700_000_035,
    "dlq_publish_failures_total": 31,
    "parking_publish_failures_total": 32,
    'writes_blocked{stage="dead_letter"}': 1,
    'writes_blocked{stage="parking"}': 0,
    'events_expiring_within_seconds{window="3600"}': 1,
    'events_expiring_within_seconds{window="21600"}': 2,
    'events_expiring_within_seconds{window="86400"}': 3,
    "settled_records_per_second": 41,
    "produced_records_per_second": 42,
    "lag_drain_seconds": 43,
    "oldest_event_seconds_left": 44,
    "loss_begins_seconds": math.inf,
    "desired_replicas": 0.5,
    'build_info{version="1.2.3"}': 1,
    'config_info{config_hash="abc"}': 1,
    'consumer_group_info{group_id="group-1"}': 1,
    "ready": 1,
    "buffer_bytes": 1234,
    "buffer_limit_bytes": 5000,
    "memory_limit_bytes": 6000,
    "dedup_window_rows": 36,
    f'dedup_keys_evicted_total{{topic="{TOPIC}"}}': 37,
    'loop_lag_seconds_bucket{le="0.1"}': 1,
    'log_messages_total{level="error"}': 39,
    'log_messages_total{level="warning"}': 0,
    "log_lines_dropped_total": 38,
    'trace_spans_total{result="exported"}': 91,
    'trace_spans_total{result="failed"}': 92,
    'trace_spans_total{result="dropped"}': 93,
}


def scrape(registry: CollectorRegistry | None = None) -> dict[str, Metric]:
    """The metric families of a scrape, by name."""
    text = generate_latest(make_registry() if registry is None else registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(reading: Reading | None = None) -> dict[str, float]:
    """The samples of a scrape, without the prefix."""
    registry = make_registry() if reading is None else make_registry(lambda: reading)
    values = {}
    for family in scrape(registry).values():
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            name = sample.name.removeprefix(PREFIX) + (f"{{{labels}}}" if labels else "")
            values[name] = sample.value
    return values


@pytest.fixture(scope="module")
def scraped() -> dict[str, float]:
    return samples()


@pytest.mark.parametrize("name", VALUES)
def test_a_sample_has_the_value_that_it_means(scraped: dict[str, float], name: str) -> None:
    assert scraped.get(name) == pytest.approx(VALUES[name])


def test_every_metric_has_a_value_in_these_tests() -> None:
    checked = {name.partition("{")[0] for name in VALUES}
    parts = ("", "_sum", "_count", "_bucket")
    missing = [
        metric.name
        for metric in METRICS
        if not any(metric.name + part in checked for part in parts)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("names", "kind"),
    [(COUNTERS, CounterMetric), (HISTOGRAMS, HistogramMetric), (GAUGES, GaugeMetric)],
    ids=["counters", "histograms", "gauges"],
)
def test_the_fixed_names_have_their_type_and_labels(names: list[str], kind: type[object]) -> None:
    defined = {
        metric.name + (f"{{{','.join(metric.labels)}}}" if metric.labels else ""): type(metric)
        for metric in METRICS
    }
    assert {name: defined.get(name) for name in names} == dict.fromkeys(names, kind)


def test_a_scrape_has_the_defined_types_and_help_texts() -> None:
    families = scrape()
    for metric in METRICS:
        family = families[PREFIX + metric.name.removesuffix("_total")]
        assert family.type == type(metric).__name__.removesuffix("Metric").lower()
        assert family.documentation == metric.help
    assert len(families) == len(METRICS)


def test_no_sample_has_a_time_of_creation(scraped: dict[str, float]) -> None:
    assert [name for name in scraped if "_created" in name] == []


def test_names_are_unique_and_texts_are_sentences() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.endswith("_total") == isinstance(metric, CounterMetric), metric.name
        assert metric.meaning.endswith("."), metric.name
        assert metric.action == "" or metric.action.endswith("."), metric.name


def test_every_metric_is_on_the_page() -> None:
    shown = [metric for metrics in metrics_page.SECTIONS.values() for metric in metrics]
    assert sorted(metric.name for metric in shown) == sorted(metric.name for metric in METRICS)


def test_the_gauges_of_a_revoked_partition_are_gone() -> None:
    left = make_reading(partitions=make_reading().snapshot.partitions[1:])
    gone = f'{{partition="3",topic="{TOPIC}"}}'
    names = samples(left)
    assert [name for name in names if gone in name] == []
    assert names[f'consumer_assigned_partitions{{topic="{TOPIC}"}}'] == 0
    assert names[f'consumer_assigned_partitions{{topic="{PARKED}"}}'] == 1


def test_a_partition_whose_end_is_not_known_has_no_lag() -> None:
    names = samples(make_reading(ends={}))
    assert [name for name in names if "consumer_lag_records" in name] == []
    assert names[f'records_parked{{topic="{TOPIC}"}}'] == 0


def test_a_hold_that_has_ended_and_an_unknown_clock_have_no_sample() -> None:
    clock = ClockStatus(Trust.UNVOUCHED, None)
    names = samples(make_reading(holds=(), clock=clock))
    assert [name for name in names if name.startswith(("application_held", "clock_ahead"))] == []
    assert names["clock_doubted"] == 0


def test_a_worker_that_is_not_ready_shows_it() -> None:
    assert samples(make_reading(not_ready_because="it is stopping"))["ready"] == 0


def test_every_reason_is_there_from_the_first_scrape(scraped: dict[str, float]) -> None:
    for metric in ("records_rejected_total", "dlq_records_total"):
        assert sum(name.startswith(metric) for name in scraped) == len(Reason)


def test_names_of_producers_that_look_alike_are_one_sample() -> None:
    reading = make_reading()
    contract_drift = reading.snapshot.counters.topics[TOPIC].contract_drift
    contract_drift.drift("a\nb", "field", "unknown", 2)
    contract_drift.drift("a\\nb", "field", "unknown", 3)
    alike = [
        sample.value
        for sample in scrape(make_registry(lambda: reading))[PREFIX + "contract_drifts"].samples
        if sample.labels["event_name"] == "a\\nb"
    ]
    assert alike == [5]


def test_registering_takes_no_reading_and_a_scrape_takes_one() -> None:
    readings: list[Reading] = []

    def read() -> Reading:
        readings.append(make_reading())
        return readings[-1]

    registry = make_registry(read)
    assert len(readings) == 0
    generate_latest(registry)
    assert len(readings) == 1


def test_every_value_is_a_number_and_only_forecasts_may_be_infinite(
    scraped: dict[str, float],
) -> None:
    assert [name for name, value in scraped.items() if math.isnan(value)] == []
    assert [name for name, value in scraped.items() if math.isinf(value)] == ["loss_begins_seconds"]


def test_a_forecast_that_is_not_known_has_no_sample() -> None:
    names = samples(make_reading(forecast=Forecast(None, None, None, None, None, 1.0)))
    forecasts = {metric.name for metric in metrics_page.SECTIONS["Forecasts"]}
    assert forecasts & set(names) == {"desired_replicas"}
    assert 'events_expiring_within_seconds{window="3600"}' in names


def many_applications_and_partitions() -> Reading:
    """A worker with 10,000 applications, all held and throttled, and 1,000 partitions."""
    applications = range(1, 10_001)
    reading = make_reading(
        holds=tuple(HoldStatus(n, "http_403", 1.0, 2.0, 1, is_parking=False) for n in applications),
        throttles=tuple(ThrottleStatus(n, "http_429", 1.0, 2.0, 1) for n in applications),
        partitions=tuple(
            PartitionStatus(make_assignment(n), 9, 9, 9, 0, is_paused=False, is_draining=False)
            for n in range(1000)
        ),
        ends={make_assignment(n): End(9, 9, 3.0) for n in range(1000)},
    )
    contract_drift = reading.snapshot.counters.topics[TOPIC].contract_drift
    for number in range(10_000):
        contract_drift.drift(f"event {number}" + "x" * 10_000, "field" * 1000, "unknown")
    return reading


def test_the_size_of_a_scrape_is_bounded() -> None:
    reading = many_applications_and_partitions()
    names = samples(reading)
    partitions = [name for name in names if "partition=" in name]
    assert len(partitions) == 2 * 1000
    assert len(names) - len(partitions) < 700
    assert len(generate_latest(make_registry(lambda: reading))) < 500_000
    assert max(map(len, names)) < 3 * LABEL_CHARACTERS_MAX + 200


def test_applications_beyond_the_bound_are_counted_together() -> None:
    names = samples(many_applications_and_partitions())
    for metric, reason in (("application_held", "http_403"), ("application_throttled", "http_429")):
        shown = {name: value for name, value in names.items() if name.startswith(metric)}
        assert len(shown) == APPLICATIONS_MAX + 1
        assert shown[f'{metric}{{application_id="(other)",reason="{reason}"}}'] == 9_900
        assert sum(shown.values()) == 10_000

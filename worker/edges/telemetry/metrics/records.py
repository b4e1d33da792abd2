"""Metrics of records: what was received, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from worker.core.counters.counters import TopicCounters
from worker.core.model.fault import Reason
from worker.core.model.record import SkipReason
from worker.core.model.row import KeySource
from worker.edges.telemetry.metrics.definition import (
    LABEL_CHARACTERS_MAX,
    CounterMetric,
    GaugeMetric,
    Labels,
    Read,
    by_topic,
    single,
)
from worker.edges.telemetry.reading import Reading
from worker.edges.telemetry.redaction import printable, text


def _by_reason(read: Callable[[TopicCounters], Counter[Reason]]) -> Read[float]:
    return lambda reading: {
        (topic, reason.value): read(counters)[reason]
        for topic, counters in reading.snapshot.counters.topics.items()
        for reason in Reason
    }


def _deduplicated(reading: Reading) -> dict[Labels, float]:
    return {
        (topic, source.value): counters.deduplicated[source.value]
        for topic, counters in reading.snapshot.counters.topics.items()
        for source in KeySource
    }


def _without_key(reading: Reading) -> dict[Labels, float]:
    return {
        (topic, why): counters.contract_drift.without_key[why]
        for topic, counters in reading.snapshot.counters.topics.items()
        for why in ("missing", "wrong_type")
    }


def _by_skip_reason(reading: Reading) -> dict[Labels, float]:
    return {
        (topic, reason.value): counters.skipped[reason]
        for topic, counters in reading.snapshot.counters.topics.items()
        for reason in SkipReason
    }


def _unusual_values(reading: Reading) -> dict[Labels, float]:
    return {
        (topic, field): count
        for topic, counters in reading.snapshot.counters.topics.items()
        for field, count in counters.contract_drift.unusual_values.items()
    }


def _label(name: str) -> str:
    shown = printable(text(name))
    return shown if len(shown) <= LABEL_CHARACTERS_MAX else f"{shown[: LABEL_CHARACTERS_MAX - 1]}…"


def _contract_drifts(reading: Reading) -> Counter[Labels]:
    # The names come from producers: two of them may look alike once they are printable and cut.
    samples: Counter[Labels] = Counter()
    for topic, counters in reading.snapshot.counters.topics.items():
        for drift, count in counters.contract_drift.drifts.items():
            samples[(topic, *map(_label, drift))] += count
    return samples


RECORDS = (
    CounterMetric(
        "records_consumed_total",
        ("topic",),
        "Records received from Kafka.",
        "Flat although there is lag: see consumer_paused and application_held.",
        by_topic(lambda counters: counters.consumed),
    ),
    CounterMetric(
        "records_consumed_bytes_total",
        ("topic",),
        "Bytes of the values of the records received from Kafka.",
        "",
        by_topic(lambda counters: counters.consumed_bytes),
    ),
    CounterMetric(
        "records_delivered_total",
        ("topic",),
        "Records that the API answered with 200.",
        "Flat although records are consumed: see application_held and http_requests_total.",
        by_topic(lambda counters: counters.delivered),
    ),
    CounterMetric(
        "records_deduplicated_total",
        ("topic", "by"),
        "Records dropped as duplicates of delivered events: by the producer's key, by their "
        "content, or because the same record was received again.",
        "A jump: a producer sends events repeatedly. By content: check that these are no real "
        "events, and give each event an id.",
        _deduplicated,
    ),
    CounterMetric(
        "records_without_key_total",
        ("topic", "why"),
        "Records without a usable key, although the configuration names its place: missing, or of "
        "a wrong type.",
        "Rises: a producer doesn't write the key. See dedup.without_key.",
        _without_key,
    ),
    CounterMetric(
        "records_skipped_total",
        ("topic", "reason"),
        "Records that are no events of their route: not selected, or tombstones to be skipped.",
        "All records of a topic: a condition of the route's `select` is wrong.",
        _by_skip_reason,
    ),
    CounterMetric(
        "records_rejected_total",
        ("topic", "reason"),
        "Records found undeliverable, by the reason of their first fault.",
        "A jump: a producer changed. `dlq peek` shows every fault and who has to fix it.",
        _by_reason(lambda counters: counters.rejected),
    ),
    CounterMetric(
        "dlq_records_total",
        ("topic", "reason"),
        "Dead letters acknowledged by the dead-letter topic.",
        "`dlq stats` counts them; after the fix `dlq replay` sends them back.",
        _by_reason(lambda counters: counters.dead_lettered),
    ),
    CounterMetric(
        "parking_records_total",
        ("topic",),
        "Records acknowledged by the parking topic, because their application is on hold.",
        "See application_held.",
        by_topic(lambda counters: counters.parked),
    ),
    CounterMetric(
        "unusual_values_total",
        ("topic", "field"),
        "Delivered values that are not in the open lists of the API's documentation.",
        "A new value or a typo: check the records.",
        _unusual_values,
    ),
    CounterMetric(
        "contract_drifts_total",
        ("topic", "event_name", "field", "change"),
        "Fields that differ from the contract, by `change`: unknown; the wrong JSON type; "
        "precision and cut: beyond a limit of the API; dropped: invalid and left out. "
        "At most 100 differences per topic; further ones count as (other).",
        "A producer's release changed its events: compare them with docs/events.md.",
        _contract_drifts,
    ),
    CounterMetric(
        "records_skipped_settled_total",
        ("topic",),
        "Records received again and skipped, because the commit metadata names them as settled.",
        "",
        by_topic(lambda counters: counters.skipped_settled),
    ),
    CounterMetric(
        "hints_ignored_total",
        ("topic",),
        "Commits whose metadata is damaged or was written by another program.",
        "Find the program that commits for this group; the worst effect is duplicates.",
        by_topic(lambda counters: counters.hints_ignored),
    ),
    CounterMetric(
        "offsets_skipped_total",
        ("topic",),
        "Offsets that the brokers deleted before they were read: records were lost.",
        "The retention is shorter than the outage: increase the topic's retention.",
        by_topic(lambda counters: counters.offsets_skipped),
    ),
    CounterMetric(
        "log_truncations_total",
        ("topic",),
        "Truncations of a partition's log below the group's position: the brokers lost records.",
        "Set unclean.leader.election.enable=false and min.insync.replicas=2; see "
        "docs/troubleshooting.md#a-log-was-truncated.",
        by_topic(lambda counters: counters.log_truncations),
    ),
    CounterMetric(
        "events_ahead_total",
        ("topic",),
        "Delivered events whose time was ahead of the worker's clock; their age counts as 0.",
        "A producer's or a device's clock is wrong. Events beyond "
        "limits.event_ahead_seconds_max are refused as in_future.",
        by_topic(lambda counters: counters.events_ahead),
    ),
    CounterMetric(
        "records_ahead_total",
        ("topic",),
        "Delivered records whose Kafka timestamp was ahead of the worker's clock; their latency "
        "counts as 0.",
        "Compare the clocks of producers, brokers and worker.",
        by_topic(lambda counters: counters.records_ahead),
    ),
    CounterMetric(
        "records_undated_total",
        ("topic",),
        "Delivered records without a Kafka timestamp (-1 or 0); they have no latency.",
        "The producer sets no timestamp. Tools don't find these records by --since or --from.",
        by_topic(lambda counters: counters.records_undated),
    ),
    GaugeMetric(
        "records_outstanding",
        ("stage",),
        "Records in memory, by stage: linked, batching, waiting, in_flight, dead_letter, parking.",
        "The largest stage shows where records wait.",
        lambda reading: {(stage,): count for stage, count in reading.snapshot.rows.items()},
    ),
    GaugeMetric(
        "accounting_imbalance_records",
        (),
        "Records that the accounting can't explain; always 0.",
        "Not 0: a bug in this program. Report it with the log and /status.",
        single(lambda reading: reading.snapshot.imbalance),
    ),
    GaugeMetric(
        "oldest_unsettled_event_timestamp_seconds",
        (),
        "Unix time of the oldest event that waits for delivery; 0: none waits.",
        "An event is lost when it is older than limits.event_age_seconds_max: see "
        "application_held and consumer_lag_records.",
        single(lambda reading: reading.snapshot.oldest_event_timestamp or 0),
    ),
)

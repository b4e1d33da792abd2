"""Metrics of Kafka: partitions, lag, commits, and the topics that are written."""

from __future__ import annotations

from collections.abc import Callable

from worker.edges.telemetry.metrics.definition import (
    CounterMetric,
    GaugeMetric,
    HistogramMetric,
    Labels,
    Read,
    by_count,
    single,
)
from worker.edges.telemetry.reading import PartitionReading, Reading


def _by_partition(read: Callable[[PartitionReading], int | None]) -> Read[float]:
    """Read a metric of partitions; a partition whose end is not known has no sample."""
    return lambda reading: {
        (one.status.assignment.topic, str(one.status.assignment.partition)): value
        for one in reading.partitions
        if (value := read(one)) is not None
    }


def _records_parked(reading: Reading) -> dict[Labels, float]:
    """Count by the topic that the records came from."""
    parked = dict.fromkeys(reading.info.parking_topics, 0)
    sources = {parking: topic for topic, parking in reading.info.parking_topics.items()}
    for one in reading.partitions:
        source = sources.get(one.status.assignment.topic)
        if source is not None:
            parked[source] += one.lag_records or 0
    return {(topic,): records for topic, records in parked.items()}


def _partitions_unreadable(reading: Reading) -> dict[Labels, float]:
    unreadable = dict.fromkeys(reading.info.topics, 0)
    for partition in reading.partition_errors:
        unreadable[partition.topic] += 1
    return {(topic,): partitions for topic, partitions in unreadable.items()}


def _consumer_assigned_partitions(reading: Reading) -> dict[Labels, float]:
    assigned = dict.fromkeys(reading.info.topics, 0)
    for partition in reading.snapshot.partitions:
        assigned[partition.assignment.topic] += 1
    return {(topic,): partitions for topic, partitions in assigned.items()}


KAFKA = (
    GaugeMetric(
        "consumer_group_info",
        ("group_id",),
        "The consumer group of the worker.",
        "",
        lambda reading: {(reading.info.group_id,): 1},
    ),
    GaugeMetric(
        "consumer_lag_records",
        ("topic", "partition"),
        "Offsets between the safe position and the end of the partition. The brokers are asked "
        "for the end every 5 s, also while the partition is paused.",
        "Grows: see consumer_paused and application_held; otherwise add workers up to the number "
        "of partitions. While the brokers don't answer the value is old: see end_age_seconds in "
        "/status.",
        _by_partition(lambda one: one.lag_records),
    ),
    GaugeMetric(
        "records_behind_transaction",
        ("topic", "partition"),
        "Written offsets that can't be read yet, because an open transaction precedes them; not "
        "part of the lag.",
        "Above 0 for long: a transactional producer hangs or has crashed. "
        "`kafka-transactions.sh find-hanging` finds it; its transaction.timeout.ms ends the "
        "transaction.",
        _by_partition(lambda one: one.records_behind_transaction),
    ),
    GaugeMetric(
        "records_parked",
        ("topic",),
        "Records in the parking topic that are not redelivered yet, by the topic they came from. "
        "Only partitions of the parking topic that a worker has are counted.",
        "Falls by itself when the hold ends: see application_held. `appmetrica-worker lag` "
        "counts all partitions, also those that no worker has.",
        _records_parked,
    ),
    GaugeMetric(
        "consumer_assigned_partitions",
        ("topic",),
        "Partitions assigned to this worker.",
        "0 for long: there are more workers than partitions.",
        _consumer_assigned_partitions,
    ),
    GaugeMetric(
        "partitions_unreadable",
        ("topic",),
        "Assigned partitions that can't be read; the others are read.",
        "See partitions_in_trouble in /status for the reason of each.",
        _partitions_unreadable,
    ),
    GaugeMetric(
        "consumer_paused",
        (),
        "Partitions that are paused: no more of their records are received.",
        "Normal in an outage of the API. Other causes: see "
        "docs/troubleshooting.md#reading-is-paused.",
        single(lambda reading: sum(part.is_paused for part in reading.snapshot.partitions)),
    ),
    GaugeMetric(
        "last_poll_timestamp_seconds",
        (),
        "Unix time when records were last received; 0: never.",
        "Old although there is lag: see consumer_paused and consumer_rebuilds_total.",
        single(lambda reading: reading.snapshot.counters.last_poll_unix_seconds),
    ),
    CounterMetric(
        "consumer_rebalances_total",
        ("event",),
        "Rebalances, by event: partitions assigned, revoked or lost.",
        "lost: sessions time out; check loop_lag_seconds and the network to the brokers.",
        by_count(lambda counters: counters.rebalances, ("assigned", "revoked", "lost")),
    ),
    CounterMetric(
        "consumer_rebuilds_total",
        (),
        "Kafka consumers replaced because they did not recover.",
        "Check the brokers and the log line consumer_rebuilt. After more than 3 in 15 minutes "
        "the worker exits with 69.",
        single(lambda reading: reading.consumer_rebuilds),
    ),
    CounterMetric(
        "commits_total",
        ("result",),
        "Commits of positions, by result.",
        "failed: the coordinator is not available. Nothing is lost, but a crash may cause "
        "duplicates.",
        by_count(lambda counters: counters.commits, ("committed", "failed")),
    ),
    HistogramMetric(
        "commit_duration_seconds",
        (),
        "Duration of commits.",
        "Rises: the brokers are slow.",
        single(lambda reading: reading.snapshot.counters.commit_seconds),
    ),
    GaugeMetric(
        "last_commit_timestamp_seconds",
        (),
        "Unix time of the last successful commit; 0: never.",
        "Old although records are delivered: see commits_total.",
        single(lambda reading: reading.snapshot.counters.last_commit_unix_seconds),
    ),
    CounterMetric(
        "dlq_publish_failures_total",
        (),
        "Failed attempts to write dead letters. Consumption is paused until a write succeeds.",
        "Create the dead-letter topic or grant WRITE; the worker resumes by itself.",
        single(lambda reading: reading.snapshot.counters.dead_letter_failures),
    ),
    CounterMetric(
        "parking_publish_failures_total",
        (),
        "Failed attempts to park records. Consumption is paused until a write succeeds.",
        "Create the parking topic or grant WRITE; the worker resumes by itself.",
        single(lambda reading: reading.snapshot.counters.parking_failures),
    ),
    GaugeMetric(
        "writes_blocked",
        ("stage",),
        "1 while records wait because their topic can't be written: dead_letter or parking. "
        "Consumption is paused.",
        "Create the topic or grant WRITE; the worker resumes by itself. The log line "
        "dead_letters_failed or parking_failed has the cause.",
        lambda reading: {
            ("dead_letter",): reading.snapshot.is_dead_letter_blocked,
            ("parking",): reading.snapshot.is_parking_blocked,
        },
    ),
)

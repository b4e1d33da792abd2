"""The rows of the fleet's dashboard that show causes: the records themselves, and the group."""

from __future__ import annotations

from dashboards.panels import (
    ORANGE,
    RED,
    Panel,
    Query,
    Row,
    Threshold,
    above,
    above_zero,
    grouped,
    rate,
    stack,
)

RECORDS = Row(
    "Records",
    (
        stack(
            "How records end",
            "Settled records per second. Only delivered and duplicates: healthy. Parked: a hold. "
            "Dead letters: see the reasons beside.",
            (
                Query("sum(rate(records_delivered_total[$__rate_interval]))", "delivered"),
                Query("sum(rate(records_deduplicated_total[$__rate_interval]))", "duplicates"),
                Query("sum(rate(records_skipped_total[$__rate_interval]))", "skipped"),
                Query("sum(rate(parking_records_total[$__rate_interval]))", "parked"),
                Query("sum(rate(dlq_records_total[$__rate_interval]))", "dead letters"),
            ),
            unit="cps",
        ),
        stack(
            "Dead letters by reason",
            "A jump: a producer changed. `appmetrica-worker dlq peek` shows every fault and who "
            "has to fix it; after the fix `dlq replay` sends them again.",
            (
                Query(
                    "sum by (topic, reason) (rate(dlq_records_total[$__rate_interval])) > 0",
                    "{{reason}} {{topic}}",
                ),
            ),
            unit="cps",
            runbook="dead-letters",
            empty="none",
        ),
        Panel(
            "Share of dead letters",
            "Of all consumed records, in an hour. The alerts fire at 3 % for hours and at 14 %.",
            (
                Query(
                    "sum by (topic) (increase(dlq_records_total[1h])) / on (topic) "
                    "(sum by (topic) (increase(records_consumed_total[1h])) > 0)",
                    "{{topic}}",
                ),
            ),
            unit="percentunit",
            thresholds=above(0.03, 0.144),
            runbook="dead-letters",
            empty="none",
        ),
        stack(
            "Duplicates dropped",
            "By the producer's key, by equal content, or because a record was received again. A "
            "jump: a producer repeats events. By content: give each event an id.",
            (rate("records_deduplicated_total", "by {{by}}", "by"),),
            unit="cps",
            empty="none",
        ),
        Panel(
            "Rows that may be delivered twice",
            "Rows per second of requests without an answer: the API may have loaded them, and "
            "they are sent again. Rises: check the network and proxies between workers and API.",
            (Query("sum(rate(rows_ambiguous_total[$__rate_interval]))", "rows"),),
            unit="cps",
            thresholds=(Threshold(1, ORANGE),),
        ),
        stack(
            "Parked records",
            "Records in the parking topics that are not redelivered yet. They fall by themselves "
            "when the hold ends.",
            (grouped("sum", "records_parked", "topic"),),
            runbook="parked-not-shrinking",
        ),
        Panel(
            "What producers should look at",
            "Records per second without a key where one is expected, and with a difference from "
            "the contract or an unknown value. They are delivered. Rises: compare a release of "
            "the producer with docs/events.md.",
            (
                above_zero(rate("records_without_key_total", "without key {{topic}}", "topic")),
                Query(
                    "sum by (event_name, field, change) "
                    "(rate(contract_drifts_total[$__rate_interval])) > 0",
                    "{{change}} {{event_name}}.{{field}}",
                ),
                above_zero(rate("unusual_values_total", "unusual {{field}}", "field")),
            ),
            unit="cps",
            runbook="records-without-key",
            empty="nothing",
        ),
        Panel(
            "Times that can't be right",
            "Delivered records per second whose event or Kafka timestamp is ahead of the clock, or "
            "that have no Kafka timestamp. Rises: fix the clock of the producer.",
            (
                Query("sum(rate(events_ahead_total[$__rate_interval]))", "events ahead"),
                Query("sum(rate(records_ahead_total[$__rate_interval]))", "records ahead"),
                Query("sum(rate(records_undated_total[$__rate_interval]))", "without timestamp"),
            ),
            unit="cps",
            runbook="events-from-the-future",
        ),
        Panel(
            "Records lost in Kafka",
            "Offsets that the brokers deleted before they were read, and truncations of logs, in "
            "an hour. Above 0: records are lost; raise the retention, forbid unclean elections.",
            (
                grouped("sum", "increase(offsets_skipped_total[1h])", "topic", text="skipped"),
                grouped("sum", "increase(log_truncations_total[1h])", "topic", text="truncations"),
            ),
            thresholds=(Threshold(1, RED),),
            runbook="offsets-skipped",
        ),
    ),
)

MEMBERS = Row(
    "Workers and the group",
    (
        stack(
            "Partitions with a worker",
            "Assigned partitions by worker. The sum falls: partitions are not read. Steps: a "
            "rebalance.",
            (grouped("sum", "consumer_assigned_partitions", "instance"),),
            runbook="partitions-without-member",
        ),
        Panel(
            "Rebalances",
            "Assignments, revocations and losses in 5 minutes. A few at a rollout are normal. "
            "Lost: sessions time out; check the loop lag and the network. All the time: a storm.",
            (
                grouped("sum", "increase(consumer_rebalances_total[5m])", "event"),
                Query("sum(increase(consumer_rebuilds_total[5m]))", "consumer replaced"),
            ),
            runbook="rebalance-storm",
        ),
        Panel(
            "Starts of processes",
            "Starts of each worker in 30 minutes. More than two: a crash loop; see its exit code.",
            (
                Query(
                    "changes(process_start_time_seconds[30m]) "
                    "and on (namespace, job, instance) build_info",
                    "{{instance}}",
                ),
            ),
            thresholds=above(1, 3),
            runbook="crash-loop",
        ),
        Panel(
            "Memory of the container",
            "Resident memory as a share of the container's limit. Near 1: the kernel kills the "
            "worker. No value: the container has no limit.",
            (
                Query(
                    "process_resident_memory_bytes "
                    "/ on (namespace, job, instance) memory_limit_bytes",
                    "{{instance}}",
                ),
            ),
            unit="percentunit",
            maximum=1,
            thresholds=above(0.8, 0.9),
            runbook="memory-near-limit",
            empty="no limit",
        ),
        Panel(
            "What blocks the group",
            "Paused partitions are normal in an outage of the API. A blocked topic, an unreadable "
            "partition, a doubted clock or an unusable key needs somebody: see the runbook.",
            (
                Query("sum(consumer_paused)", "partitions paused"),
                Query("sum(partitions_unreadable)", "partitions unreadable"),
                Query("max by (stage) (writes_blocked)", "{{stage}} blocked"),
                Query("sum(clock_doubted)", "clocks doubted"),
                Query("sum(key_files_unusable)", "key files unusable"),
                Query("sum(abs(accounting_imbalance_records))", "accounting imbalance"),
            ),
            runbook="topic-unwritable",
        ),
        Panel(
            "Versions and configurations",
            "Workers by version and by configuration. More than one of either for long: a rollout "
            "is not complete.",
            (
                grouped("count", "build_info", "version", text="version"),
                grouped("count", "config_info", "config_hash", text="configuration"),
            ),
        ),
    ),
)

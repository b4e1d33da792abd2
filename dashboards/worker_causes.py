"""The rows of a worker's dashboard that show causes: holds, Kafka, memory and the process."""

from __future__ import annotations

from dashboards.panels import (
    ORANGE,
    RED,
    Panel,
    Query,
    Row,
    Threshold,
    above,
    grouped,
    holds,
    quantiles,
    rate,
    stack,
)

HOLDS = Row(
    "Holds and parking",
    (
        holds(
            "On hold or throttled",
            "Since when and why an application waits. http_401, http_403: fix its key.",
            "instance",
        ),
        Panel(
            "Parking",
            "Parked records, and records per second written to the parking topic. Falls by itself "
            "after the hold.",
            (
                Query("sum(records_parked)", "parked"),
                rate("parking_records_total", "written per second"),
            ),
            runbook="parked-not-shrinking",
        ),
        Panel(
            "Failed writes",
            "Failed attempts per second to write dead letters or parked records. Consumption is "
            "paused until a write succeeds: create the topic or grant WRITE.",
            (
                rate("dlq_publish_failures_total", "dead letters"),
                rate("parking_publish_failures_total", "parking"),
            ),
            unit="cps",
            runbook="topic-unwritable",
        ),
        Panel(
            "Unusable key files",
            "Applications whose key file can't be read. The old key stays in use until a restart.",
            (grouped("max", "key_files_unusable", "instance"),),
            thresholds=(Threshold(1, RED),),
            runbook="key-file-unusable",
        ),
    ),
)

KAFKA = Row(
    "Kafka",
    (
        Panel(
            "Lag by partition",
            "One partition far above the others: a hot key, an unreadable partition, or an ordered "
            "application that waits.",
            (grouped("max", "consumer_lag_records", "topic", "partition"),),
            runbook="not-delivering",
        ),
        Panel(
            "Partitions not read",
            "Paused: the span or the memory is at its limit; normal in an outage of the API. "
            "Unreadable: see partitions_in_trouble in /status.",
            (
                grouped("sum", "consumer_paused", "instance", text="paused"),
                grouped("sum", "partitions_unreadable", "topic", text="unreadable"),
            ),
            runbook="partitions-unreadable",
        ),
        stack(
            "Assigned partitions",
            "Steps: a rebalance. 0 for long: there are more workers than partitions.",
            (grouped("sum", "consumer_assigned_partitions", "instance", "topic"),),
            runbook="partitions-without-member",
        ),
        Panel(
            "Rebalances",
            "In 5 minutes, by event. Lost: the session timed out; see the loop lag and the "
            "network.",
            (
                Query(
                    "sum by (instance, event) (increase(consumer_rebalances_total[5m]))",
                    "{{event}} {{instance}}",
                ),
                grouped(
                    "sum",
                    "increase(consumer_rebuilds_total[5m])",
                    "instance",
                    text="consumer replaced",
                ),
            ),
            runbook="rebalance-storm",
        ),
        stack(
            "Commits",
            "Commits per second by result. failed: the coordinator is not available; a crash now "
            "may cause duplicates.",
            (rate("commits_total", "{{result}}", "result"),),
            unit="cps",
        ),
        Panel(
            "Time of a commit",
            "Rises: the brokers are slow.",
            quantiles("commit_duration_seconds", 0.5, 0.99),
            unit="s",
        ),
        Panel(
            "Time since the last poll and commit",
            "Grows although there is lag: see Partitions not read. Without new records it grows "
            "too.",
            (
                Query("time() - (last_poll_timestamp_seconds > 0)", "poll {{instance}}"),
                Query("time() - (last_commit_timestamp_seconds > 0)", "commit {{instance}}"),
            ),
            unit="s",
            empty="none yet",
        ),
        Panel(
            "Behind open transactions",
            "Written offsets that can't be read yet. Above 0 for long: a transactional producer "
            "hangs; kafka-transactions.sh find-hanging finds it.",
            (grouped("sum", "records_behind_transaction", "topic"),),
        ),
    ),
)

PROCESS = Row(
    "Memory, deduplication, process",
    (
        Panel(
            "Memory",
            "The buffer is bounded by its limit, also in an outage; resident memory stays below "
            "the container's limit. Near it: raise the limit, or lower limits.memory_bytes_max.",
            (
                Query("sum(process_resident_memory_bytes)", "resident"),
                Query("sum(memory_limit_bytes)", "limit of the container"),
                Query("sum(buffer_bytes)", "buffer"),
                Query("sum(buffer_limit_bytes)", "limit of the buffer"),
            ),
            unit="bytes",
            runbook="memory-near-limit",
        ),
        Panel(
            "Keys in the dedup window",
            "Remembered keys of delivered events, at most dedup.window_rows_max.",
            (grouped("max", "dedup_window_rows", "instance"),),
        ),
        Panel(
            "Keys dropped too early",
            "Keys per second that were dropped before dedup.window_seconds: a repetition is "
            "delivered twice. Above 0: raise dedup.window_rows_max and the memory.",
            (rate("dedup_keys_evicted_total", "{{topic}}", "topic"),),
            unit="cps",
            thresholds=(Threshold(1, ORANGE),),
        ),
        Panel(
            "Delay of the event loop",
            "Often above 0.1 s: too little CPU; heartbeats may be late.",
            quantiles("loop_lag_seconds", 0.5, 0.99),
            unit="s",
            thresholds=above(0.1, 1),
            runbook="rebalance-storm",
        ),
        Panel(
            "CPU",
            "Seconds of CPU per second. Near 1: the worker needs a whole core; add workers.",
            (rate("process_cpu_seconds_total", "{{instance}}", "instance"),),
        ),
        stack(
            "Log messages",
            "Warnings and errors per second, lines dropped because nobody read the log, and spans "
            "of traces that no collector has accepted. Errors: see last_errors in /status.",
            (
                Query(
                    "sum by (level) "
                    '(rate(log_messages_total{level=~"warning|error"}[$__rate_interval]))',
                    "{{level}}",
                ),
                rate("log_lines_dropped_total", "lines dropped"),
                rate('trace_spans_total{result!="exported"}', "spans lost"),
            ),
            unit="cps",
        ),
    ),
)

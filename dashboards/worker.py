"""The dashboard of single workers: where records are, and which part is slow or fails."""

from __future__ import annotations

from dashboards.panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    Board,
    Kind,
    Panel,
    Query,
    Row,
    State,
    Threshold,
    above,
    quantiles,
)

BREAKER = (
    State(0, "closed", GREEN),
    State(1, "ramping", BLUE),
    State(2, "probing", ORANGE),
    State(3, "open", RED),
)
# Exactly one of the states is 1.
_BREAKER = (
    'max by (instance) (3 * (breaker_state{state="open"} == 1) '
    'or 2 * (breaker_state{state="probing"} == 1) '
    'or (breaker_state{state="ramping"} == 1) '
    'or 0 * (breaker_state{state="closed"} == 1))'
)


def _rate(metric: str, legend: str, by: str = "") -> Query:
    """The rate of a counter, over all chosen workers."""
    grouped = f"sum by ({by})" if by else "sum"
    return Query(f"{grouped} (rate({metric}[$__rate_interval]))", legend)


NOW = Row(
    "State",
    (
        Panel(
            "Ready",
            "1: a member of the group. 0: see not_ready_because in /status.",
            (Query("min by (instance) (ready)", "{{instance}}"),),
            kind=Kind.STATES,
            width=8,
            states=(State(0, "not ready", RED), State(1, "ready", GREEN)),
            runbook="not-ready",
        ),
        Panel(
            "Breaker",
            "open: the API fails and nothing is sent. probing: one request asks whether it works "
            "again. ramping: requests are added step by step. It closes by itself; see Requests by "
            "answer for what fails.",
            (Query(_BREAKER, "{{instance}}"),),
            kind=Kind.STATES,
            width=8,
            states=BREAKER,
            runbook="not-delivering",
        ),
        Panel(
            "Blocked",
            "A stage whose topic can't be written, or a clock that is doubted: nothing is "
            "received. Create the topic, grant WRITE, or set the clock.",
            (
                Query("max by (instance, stage) (writes_blocked)", "{{instance}} {{stage}}"),
                Query("max by (instance) (clock_doubted)", "{{instance}} clock"),
            ),
            kind=Kind.STATES,
            width=8,
            states=(State(0, "no", GREEN), State(1, "blocked", RED)),
            runbook="topic-unwritable",
        ),
    ),
)

JOURNEY = Row(
    "The journey of records",
    (
        Panel(
            "Records by stage",
            "Records per second through the worker. Consumed above the sum of the others: records "
            "wait in memory. All flat although there is lag: see State and Partitions not read.",
            (
                _rate("records_consumed_total", "consumed"),
                _rate("records_delivered_total", "delivered"),
                _rate("records_deduplicated_total", "duplicates"),
                _rate("records_skipped_total", "skipped"),
                _rate("records_rejected_total", "rejected"),
                _rate("dlq_records_total", "dead letters"),
                _rate("parking_records_total", "parked"),
            ),
            unit="cps",
        ),
        Panel(
            "Records in memory",
            "Where records wait. batching: for a batch to fill. waiting: for the API or a hold. "
            "in_flight: for an answer. dead_letter, parking: for a topic. linked: a duplicate of "
            "a row in flight.",
            (Query("sum by (stage) (records_outstanding)", "{{stage}}"),),
            kind=Kind.STACK,
        ),
        Panel(
            "Rejected by reason",
            "Records per second that are not valid, by their first fault; docs/reasons.md has the "
            "fix of each.",
            (_rate("records_rejected_total", "{{reason}}", "reason"),),
            unit="cps",
            kind=Kind.STACK,
            runbook="dead-letters",
            empty="none",
        ),
        Panel(
            "Bytes consumed",
            "Bytes per second of the values of consumed records.",
            (_rate("records_consumed_bytes_total", "{{topic}}", "topic"),),
            unit="Bps",
        ),
        Panel(
            "Received again",
            "Records per second that the commit's metadata names as settled, and commits with "
            "unreadable metadata. After a rebalance: normal. Unreadable for long: another program "
            "commits for this group.",
            (
                _rate("records_skipped_settled_total", "settled before"),
                _rate("hints_ignored_total", "metadata unreadable"),
            ),
            unit="cps",
        ),
        Panel(
            "Accounting imbalance",
            "Received records that are neither settled nor kept. Always 0; otherwise a bug: keep "
            "/status, /metrics and the log, and report them.",
            (Query("max by (instance) (abs(accounting_imbalance_records))", "{{instance}}"),),
            thresholds=(Threshold(1, RED),),
            runbook="accounting-imbalance",
        ),
    ),
)

BATCHES = Row(
    "Batches",
    (
        Panel(
            "Why batches were sealed",
            "Batches per second by trigger. Under load mostly rows or bytes. Mostly linger under "
            "load: too many applications, or batching.linger_seconds is too short.",
            (_rate("batch_flush_total", "{{trigger}}", "trigger"),),
            unit="cps",
            kind=Kind.STACK,
        ),
        Panel(
            "Rows of a batch",
            "Small under load: each request costs time. See why batches were sealed.",
            quantiles("batch_rows", 0.5, 0.95),
        ),
        Panel(
            "Bytes of a batch",
            "At most batching.body_bytes_max.",
            quantiles("batch_bytes", 0.5, 0.95),
            unit="bytes",
        ),
    ),
)

API = Row(
    "The API",
    (
        Panel(
            "Requests by answer",
            "Requests per second by HTTP status or transport fault. 5xx or faults: the API or the "
            "network fails; the worker retries by itself. 401, 403: a key.",
            (_rate("http_requests_total", "{{code}}", "code"),),
            unit="reqps",
            kind=Kind.STACK,
            runbook="not-delivering",
        ),
        Panel(
            "What answers mean",
            "Requests per second by the meaning of their answer. ambiguous: no answer; the rows "
            "may be delivered twice. refused: the batch is taken apart. held: the application "
            "waits.",
            (_rate("batches_total", "{{result}}", "result"),),
            unit="reqps",
            kind=Kind.STACK,
        ),
        Panel(
            "Time of a request",
            "From the start of a request to its answer. Rises: the API is slow; the worker sends "
            "fewer requests at once by itself.",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le, outcome) "
                    "(rate(http_request_duration_seconds_bucket[$__rate_interval])))",
                    f"p{share * 100:g} {{{{outcome}}}}",
                )
                for share in (0.5, 0.99)
            ),
            unit="s",
        ),
        Panel(
            "Requests in flight",
            "At the limit while the lag grows: the API limits the speed. A limit that is low for "
            "long: the API is slow or fails.",
            (
                Query("sum(requests_in_flight)", "in flight"),
                Query("sum(requests_in_flight_limit)", "limit"),
            ),
            runbook="loss-forecast",
        ),
        Panel(
            "Requests sent again",
            "Retries per second by reason. http_429: the API throttles; lower "
            "delivery.requests_per_second_max. Others: the API or the network.",
            (_rate("http_retries_total", "{{reason}}", "reason"),),
            unit="reqps",
            kind=Kind.STACK,
        ),
        Panel(
            "Rows without an answer",
            "Rows per second of requests without an answer: the most that can be delivered twice.",
            (_rate("rows_ambiguous_total", "rows"),),
            unit="cps",
        ),
        Panel(
            "Time since the last 200",
            "Grows although there is lag: nothing is delivered. Without events to send it grows "
            "too.",
            (
                Query(
                    "time() - (last_delivery_timestamp_seconds > 0)",
                    "{{instance}}",
                ),
            ),
            unit="s",
            runbook="not-delivering",
            empty="none yet",
        ),
        Panel(
            "Clock compared with the API's",
            "Seconds that the node's clock is ahead. Not near 0: synchronise the clock. Beyond "
            "limits.clock_difference_seconds_max nothing is received.",
            (Query("clock_ahead_seconds", "{{instance}}"),),
            unit="s",
            minimum=None,
            runbook="clock-doubted",
            empty="not known",
        ),
    ),
)

HOLDS = Row(
    "Holds and parking",
    (
        Panel(
            "On hold or throttled",
            "Since when and why an application waits. http_401, http_403: fix its key.",
            (
                Query(
                    "max by (instance, application_id, reason) (2 * application_held)",
                    "{{application_id}} {{reason}} {{instance}}",
                ),
                Query(
                    "max by (instance, application_id, reason) (application_throttled)",
                    "{{application_id}} {{reason}} {{instance}}",
                ),
            ),
            kind=Kind.STATES,
            states=(State(1, "throttled", ORANGE), State(2, "on hold", RED)),
            runbook="application-held",
            empty="none",
        ),
        Panel(
            "Parking",
            "Parked records, and records per second written to the parking topic. Falls by itself "
            "after the hold.",
            (
                Query("sum(records_parked)", "parked"),
                _rate("parking_records_total", "written per second"),
            ),
            runbook="parked-not-shrinking",
        ),
        Panel(
            "Failed writes",
            "Failed attempts per second to write dead letters or parked records. Consumption is "
            "paused until a write succeeds: create the topic or grant WRITE.",
            (
                _rate("dlq_publish_failures_total", "dead letters"),
                _rate("parking_publish_failures_total", "parking"),
            ),
            unit="cps",
            runbook="topic-unwritable",
        ),
        Panel(
            "Unusable key files",
            "Applications whose key file can't be read. The old key stays in use until a restart.",
            (Query("max by (instance) (key_files_unusable)", "{{instance}}"),),
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
            (
                Query(
                    "max by (topic, partition) (consumer_lag_records)",
                    "{{topic}} {{partition}}",
                ),
            ),
            runbook="not-delivering",
        ),
        Panel(
            "Partitions not read",
            "Paused: the span or the memory is at its limit; normal in an outage of the API. "
            "Unreadable: see partitions_in_trouble in /status.",
            (
                Query("sum by (instance) (consumer_paused)", "paused {{instance}}"),
                Query("sum by (topic) (partitions_unreadable)", "unreadable {{topic}}"),
            ),
            runbook="partitions-unreadable",
        ),
        Panel(
            "Assigned partitions",
            "Steps: a rebalance. 0 for long: there are more workers than partitions.",
            (
                Query(
                    "sum by (instance, topic) (consumer_assigned_partitions)",
                    "{{instance}} {{topic}}",
                ),
            ),
            kind=Kind.STACK,
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
                Query(
                    "sum by (instance) (increase(consumer_rebuilds_total[5m]))",
                    "consumer replaced {{instance}}",
                ),
            ),
            runbook="rebalance-storm",
        ),
        Panel(
            "Commits",
            "Commits per second by result. failed: the coordinator is not available; a crash now "
            "may cause duplicates.",
            (_rate("commits_total", "{{result}}", "result"),),
            unit="cps",
            kind=Kind.STACK,
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
            (Query("sum by (topic) (records_behind_transaction)", "{{topic}}"),),
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
            (Query("max by (instance) (dedup_window_rows)", "{{instance}}"),),
        ),
        Panel(
            "Keys dropped too early",
            "Keys per second that were dropped before dedup.window_seconds: a repetition is "
            "delivered twice. Above 0: raise dedup.window_rows_max and the memory.",
            (_rate("dedup_keys_evicted_total", "{{topic}}", "topic"),),
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
            (
                Query(
                    "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Log messages",
            "Warnings and errors per second, and lines dropped because nobody read the log. "
            "Errors: see last_errors in /status.",
            (
                Query(
                    "sum by (level) "
                    '(rate(log_messages_total{level=~"warning|error"}[$__rate_interval]))',
                    "{{level}}",
                ),
                _rate("log_lines_dropped_total", "lines dropped"),
            ),
            unit="cps",
            kind=Kind.STACK,
        ),
    ),
)

WORKER = Board(
    "worker",
    "AppMetrica worker: one worker",
    "Where the records of a worker are, and which part is slow or fails. Choose an instance.",
    (),
    (NOW, JOURNEY, BATCHES, API, HOLDS, KAFKA, PROCESS),
)

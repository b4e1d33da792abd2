"""The dashboard of single workers: where records are, and which part is slow or fails."""

from __future__ import annotations

from dashboards.panels import (
    GREEN,
    RED,
    Board,
    Panel,
    Query,
    Row,
    State,
    Threshold,
    above_zero,
    breaker,
    grouped,
    quantiles,
    rate,
    stack,
    states,
)
from dashboards.worker_causes import HOLDS, KAFKA, PROCESS

NOW = Row(
    "State",
    (
        states(
            "Ready",
            "1: a member of the group. 0: see not_ready_because in /status.",
            (grouped("min", "ready", "instance"),),
            width=8,
            states=(State(0, "not ready", RED), State(1, "ready", GREEN)),
            runbook="not-ready",
        ),
        breaker(
            "Breaker",
            "open: the API fails and nothing is sent. probing: one request asks whether it works "
            "again. ramping: requests are added step by step. It closes by itself; see Requests by "
            "answer for what fails.",
        ),
        states(
            "Blocked",
            "A stage whose topic can't be written, or a clock that is doubted: nothing is "
            "received. Create the topic, grant WRITE, or set the clock.",
            (
                grouped("max", "writes_blocked", "instance", "stage"),
                Query("max by (instance) (clock_doubted)", "{{instance}} clock"),
            ),
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
                rate("records_consumed_total", "consumed"),
                rate("records_delivered_total", "delivered"),
                rate("records_deduplicated_total", "duplicates"),
                rate("records_skipped_total", "skipped"),
                rate("records_rejected_total", "rejected"),
                rate("dlq_records_total", "dead letters"),
                rate("parking_records_total", "parked"),
            ),
            unit="cps",
        ),
        stack(
            "Records in memory",
            "Where records wait. batching: for a batch to fill. waiting: for the API or a hold. "
            "in_flight: for an answer. dead_letter, parking: for a topic. linked: a duplicate of "
            "a row in flight.",
            (grouped("sum", "records_outstanding", "stage"),),
        ),
        stack(
            "Rejected by reason",
            "Records per second that are not valid, by their first fault; docs/reasons.md has the "
            "fix of each.",
            (above_zero(rate("records_rejected_total", "{{reason}}", "reason")),),
            unit="cps",
            runbook="dead-letters",
            empty="none",
        ),
        Panel(
            "Bytes consumed",
            "Bytes per second of the values of consumed records.",
            (rate("records_consumed_bytes_total", "{{topic}}", "topic"),),
            unit="Bps",
        ),
        Panel(
            "Received again",
            "Records per second that the commit's metadata names as settled, and commits with "
            "unreadable metadata. After a rebalance: normal. Unreadable for long: another program "
            "commits for this group.",
            (
                rate("records_skipped_settled_total", "settled before"),
                rate("hints_ignored_total", "metadata unreadable"),
            ),
            unit="cps",
        ),
        Panel(
            "Accounting imbalance",
            "Received records that are neither settled nor kept. Always 0; otherwise a bug: keep "
            "/status, /metrics and the log, and report them.",
            (grouped("max", "abs(accounting_imbalance_records)", "instance"),),
            thresholds=(Threshold(1, RED),),
            runbook="accounting-imbalance",
        ),
    ),
)

BATCHES = Row(
    "Batches",
    (
        stack(
            "Why batches were sealed",
            "Batches per second by trigger. Under load mostly rows or bytes. Mostly linger under "
            "load: too many applications, or batching.linger_seconds is too short.",
            (rate("batch_flush_total", "{{trigger}}", "trigger"),),
            unit="cps",
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
        stack(
            "Requests by answer",
            "Requests per second by HTTP status or transport fault. 5xx or faults: the API or the "
            "network fails; the worker retries by itself. 401, 403: a key.",
            (rate("http_requests_total", "{{code}}", "code"),),
            unit="reqps",
            runbook="not-delivering",
        ),
        stack(
            "What answers mean",
            "Requests per second by the meaning of their answer. ambiguous: no answer; the rows "
            "may be delivered twice. refused: the batch is taken apart. held: the application "
            "waits.",
            (rate("batches_total", "{{result}}", "result"),),
            unit="reqps",
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
        stack(
            "Requests sent again",
            "Retries per second by reason. http_429: the API throttles; lower "
            "delivery.requests_per_second_max. Others: the API or the network.",
            (rate("http_retries_total", "{{reason}}", "reason"),),
            unit="reqps",
        ),
        Panel(
            "Rows without an answer",
            "Rows per second of requests without an answer: the most that can be delivered twice.",
            (rate("rows_ambiguous_total", "rows"),),
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

WORKER = Board(
    "worker",
    "AppMetrica worker: one worker",
    "Where the records of a worker are, and which part is slow or fails. Choose an instance.",
    (),
    (NOW, JOURNEY, BATCHES, API, HOLDS, KAFKA, PROCESS),
)

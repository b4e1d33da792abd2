"""The dashboard of all workers of a group: is everything delivered in time, and if not, why."""

from __future__ import annotations

from dashboards.panels import (
    BLUE,
    ORANGE,
    RED,
    Board,
    Choice,
    Kind,
    Panel,
    Query,
    Row,
    State,
    Threshold,
    above,
    below,
    quantiles,
)

DAY = 86_400

# A partition that moves is reported by two workers for a moment: it counts once.
_LAG = "sum by (topic) (max by (topic, partition) (consumer_lag_records))"
_LAG_GROWTH = "sum(deriv(consumer_lag_records[5m]))"
# An alert has the labels that its rule keeps: those about everything have no job.
_ALERTS = 'ALERTS{alertname=~"AppMetricaWorker.+",namespace=~"$namespace|",job=~"$job|"'
_ALERT_LABELS = ("alertname", "topic", "application_id", "reason", "stage", "instance")
# Prometheus 3 writes the bound 60 as 60.0.
_IN_TIME = 'delivery_latency_seconds_bucket{le=~"$seconds([.]0)?"}'


def _share(window: str) -> str:
    """The share of records that were delivered in time.

    Records that were added to the lag within the window and still wait count as late; otherwise
    an outage, in which nothing is delivered, would look perfect.
    """
    waiting = f"clamp_min(sum(delta(consumer_lag_records[{window}])), 0)"
    return (
        f"sum(increase({_IN_TIME}[{window}])) / "
        f"(sum(increase(delivery_latency_seconds_count[{window}])) + {waiting} > 0)"
    )


def _burn(window: str) -> str:
    """How many times faster than allowed the error budget is used."""
    return f"(1 - {_share(window)}) / (1 - $objective)"


NOW = Row(
    "Is everything all right?",
    (
        Panel(
            "Delivered in time",
            "Records delivered within the chosen number of seconds after they were written to "
            "Kafka, as a share of all records of the shown time. Records that still wait count as "
            "late. Low: look at the alerts and at the lag below.",
            (Query(_share("$__range"), ""),),
            unit="percentunit",
            kind=Kind.NUMBER,
            width=4,
            colour=RED,
            thresholds=below(0.99, 0.999),
            empty="no records",
        ),
        Panel(
            "Error budget left",
            "What is left of the late records that the chosen objective allows in the shown time. "
            "Choose the period of your objective, such as 30 days, as the time range. Below 0: the "
            "objective is missed.",
            (Query(f"1 - {_burn('$__range')}", ""),),
            unit="percentunit",
            kind=Kind.NUMBER,
            width=4,
            colour=RED,
            thresholds=below(0, 0.25),
            minimum=None,
            empty="no records",
        ),
        Panel(
            "Lag",
            "Records between the settled positions and the ends of the partitions. High and "
            "growing: see Lag and speed.",
            (Query(f"sum({_LAG})", ""),),
            kind=Kind.NUMBER,
            width=4,
            colour=BLUE,
            runbook="not-delivering",
        ),
        Panel(
            "Oldest event has left",
            "Time until the oldest event that waits is too old for the API and is lost. Red: less "
            "than a day; end what delays it.",
            (Query("min(oldest_event_seconds_left)", ""),),
            unit="s",
            kind=Kind.NUMBER,
            width=4,
            colour=RED,
            thresholds=below(DAY, 3 * DAY),
            runbook="events-expire-soon",
            empty="none waits",
        ),
        Panel(
            "Applications on hold",
            "Applications that the API refuses for a reason that is not in their rows. Above 0: "
            "see which, and why, in Applications on hold or throttled.",
            (Query("count(count by (application_id) (application_held)) or vector(0)", ""),),
            kind=Kind.NUMBER,
            width=4,
            thresholds=(Threshold(1, RED),),
            runbook="application-held",
        ),
        Panel(
            "Workers ready",
            "Workers that are members of the group, of all workers that are scraped. Fewer than "
            "all: see Workers ready and running below.",
            (
                Query("sum(ready)", "ready"),
                Query("count(build_info)", "running"),
            ),
            kind=Kind.NUMBER,
            width=4,
            colour=BLUE,
            runbook="not-ready",
        ),
        Panel(
            "Alerts",
            "Pending and firing alerts. Open the section of the runbook that has the name of the "
            "alert.",
            (
                Query(
                    f"max by ({', '.join(_ALERT_LABELS)}) "
                    f'(2 * {_ALERTS},alertstate="firing"}} or {_ALERTS},alertstate="pending"}})',
                    " ".join(f"{{{{{label}}}}}" for label in _ALERT_LABELS),
                ),
            ),
            kind=Kind.STATES,
            width=12,
            states=(State(1, "pending", ORANGE), State(2, "firing", RED)),
            empty="no alert",
        ),
        Panel(
            "Applications on hold or throttled",
            "Since when and why each application waits. http_401, http_403: fix its key. "
            "refused_systemically: compare its events with the contract. Throttled: the API "
            "limits the rate; it continues by itself.",
            (
                Query(
                    "max by (application_id, reason) (2 * application_held)",
                    "{{application_id}} {{reason}}",
                ),
                Query(
                    "max by (application_id, reason) (application_throttled)",
                    "{{application_id}} {{reason}}",
                ),
            ),
            kind=Kind.STATES,
            width=12,
            states=(State(1, "throttled", ORANGE), State(2, "on hold", RED)),
            runbook="application-held",
            empty="none",
        ),
    ),
)

OBJECTIVE = Row(
    "Service level",
    (
        Panel(
            "Share delivered in time",
            "As above, in 5 minutes. A dip shows when the trouble began; compare it with the rows "
            "below.",
            (Query(_share("5m"), "in time"),),
            unit="percentunit",
            maximum=1,
            colour=RED,
            thresholds=below(0.99, 0.999),
            empty="no records",
        ),
        Panel(
            "Burn rate of the error budget",
            "1: late records use exactly the budget. Above 14 in an hour: the budget of 30 days "
            "is gone in two days; act now. Above 3 in six hours: find the cause today.",
            (
                Query(_burn("1h"), "1 hour"),
                Query(_burn("6h"), "6 hours"),
            ),
            thresholds=above(3, 14.4),
            empty="no records",
        ),
        Panel(
            "Time from Kafka to the API",
            "From the timestamp of a record to its 200. Rises: see the lag; without lag see the "
            "time of requests in the dashboard of a worker.",
            quantiles("delivery_latency_seconds", 0.5, 0.95, 0.99),
            unit="s",
        ),
        Panel(
            "Age of events",
            "From the time of an event itself to its 200. Near 14 days: events will be refused as "
            "too old.",
            quantiles("event_age_seconds", 0.5, 0.99),
            unit="s",
            runbook="events-expire-soon",
        ),
        Panel(
            "Oldest event that waits",
            "The age of the oldest event that waits for delivery.",
            (
                Query(
                    "time() - min(oldest_unsettled_event_timestamp_seconds > 0)",
                    "age",
                ),
            ),
            unit="s",
            thresholds=above(11 * DAY, 13 * DAY),
            runbook="events-expire-soon",
            empty="none waits",
        ),
        Panel(
            "Events that will be too old",
            "Events that wait and are lost unless they are delivered within this time. Above 0: "
            "end what delays them.",
            (
                Query(
                    "sum by (window) (events_expiring_within_seconds)",
                    "within {{window}} s",
                ),
            ),
            thresholds=(Threshold(1, RED),),
            runbook="events-expire-soon",
        ),
    ),
)

SPEED = Row(
    "Lag and speed",
    (
        Panel(
            "Lag by topic",
            "Grows without end: nothing is delivered, or too few workers run. A parking topic "
            "(.parked) falls by itself after the hold.",
            (Query(_LAG, "{{topic}}"),),
            kind=Kind.STACK,
            runbook="not-delivering",
        ),
        Panel(
            "Growth of the lag",
            "Records per second by which the lag grows (above 0) or falls (below 0), over 5 "
            "minutes.",
            (Query(_LAG_GROWTH, "growth"),),
            unit="cps",
            minimum=None,
            thresholds=(Threshold(1, ORANGE),),
            runbook="loss-forecast",
        ),
        Panel(
            "Produced and settled",
            "Records per second that are written to the topics and that are settled, over 5 "
            "minutes. Produced above settled: the lag grows.",
            (
                Query("sum(produced_records_per_second)", "produced"),
                Query("sum(settled_records_per_second)", "settled"),
            ),
            unit="cps",
        ),
        Panel(
            "Time until the lag is gone",
            "At the present rates, for the slowest worker. Without a value although there is lag: "
            "it does not fall.",
            (Query("max(lag_drain_seconds < Inf)", "drained in"),),
            unit="s",
            empty="the lag does not fall",
            runbook="loss-forecast",
        ),
        Panel(
            "Loss begins in",
            "At the present rates, the time until the first event is too old and is lost. No "
            "value: none will be.",
            (Query("min(loss_begins_seconds < Inf)", "first loss"),),
            unit="s",
            kind=Kind.NUMBER,
            colour=RED,
            thresholds=below(DAY, 3 * DAY),
            runbook="loss-forecast",
            empty="never",
        ),
        Panel(
            "Workers: ready, running, wanted",
            "Wanted is the number that the lag and the measured speed ask for, at most one per "
            "partition. Wanted above running for long: add workers. Ready below running: see "
            "/readyz.",
            (
                Query("sum(ready)", "ready"),
                Query("count(build_info)", "running"),
                Query("ceil(sum(desired_replicas))", "wanted"),
            ),
            runbook="not-ready",
        ),
    ),
)

RECORDS = Row(
    "Records",
    (
        Panel(
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
            kind=Kind.STACK,
        ),
        Panel(
            "Dead letters by reason",
            "A jump: a producer changed. `appmetrica-worker dlq peek` shows every fault and who "
            "has to fix it; after the fix `dlq replay` sends them again.",
            (
                Query(
                    "sum by (topic, reason) (rate(dlq_records_total[$__rate_interval]))",
                    "{{reason}} {{topic}}",
                ),
            ),
            unit="cps",
            kind=Kind.STACK,
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
        Panel(
            "Duplicates dropped",
            "By the producer's key, by equal content, or because a record was received again. A "
            "jump: a producer repeats events. By content: give each event an id.",
            (
                Query(
                    "sum by (by) (rate(records_deduplicated_total[$__rate_interval]))",
                    "by {{by}}",
                ),
            ),
            unit="cps",
            kind=Kind.STACK,
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
        Panel(
            "Parked records",
            "Records in the parking topics that are not redelivered yet. They fall by themselves "
            "when the hold ends.",
            (Query("sum by (topic) (records_parked)", "{{topic}}"),),
            kind=Kind.STACK,
            runbook="parked-not-shrinking",
        ),
        Panel(
            "What producers should look at",
            "Records per second without a key where one is expected, and with a difference from "
            "the contract or an unknown value. They are delivered. Rises: compare a release of "
            "the producer with docs/events.md.",
            (
                Query(
                    "sum by (topic) (rate(records_without_key_total[$__rate_interval]))",
                    "without key {{topic}}",
                ),
                Query(
                    "sum by (event_name, field, change) "
                    "(rate(contract_drifts_total[$__rate_interval]))",
                    "{{change}} {{event_name}}.{{field}}",
                ),
                Query(
                    "sum by (field) (rate(unusual_values_total[$__rate_interval]))",
                    "unusual {{field}}",
                ),
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
                Query("sum by (topic) (increase(offsets_skipped_total[1h]))", "skipped {{topic}}"),
                Query(
                    "sum by (topic) (increase(log_truncations_total[1h]))", "truncations {{topic}}"
                ),
            ),
            thresholds=(Threshold(1, RED),),
            runbook="offsets-skipped",
        ),
    ),
)

MEMBERS = Row(
    "Workers and the group",
    (
        Panel(
            "Partitions with a worker",
            "Assigned partitions by worker. The sum falls: partitions are not read. Steps: a "
            "rebalance.",
            (Query("sum by (instance) (consumer_assigned_partitions)", "{{instance}}"),),
            kind=Kind.STACK,
            runbook="partitions-without-member",
        ),
        Panel(
            "Rebalances",
            "Assignments, revocations and losses in 5 minutes. A few at a rollout are normal. "
            "Lost: sessions time out; check the loop lag and the network. All the time: a storm.",
            (
                Query(
                    "sum by (event) (increase(consumer_rebalances_total[5m]))",
                    "{{event}}",
                ),
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
                Query("count by (version) (build_info)", "version {{version}}"),
                Query("count by (config_hash) (config_info)", "configuration {{config_hash}}"),
            ),
        ),
    ),
)

FLEET = Board(
    "fleet",
    "AppMetrica worker: fleet",
    "All workers of a group: is every record delivered in time, and if not, what to do.",
    (
        Choice("seconds", "In time: seconds", ("60", "30", "10", "5", "300", "1800", "3600")),
        Choice("objective", "Objective", ("0.999", "0.99", "0.995", "0.9999")),
    ),
    (NOW, OBJECTIVE, SPEED, RECORDS, MEMBERS),
)

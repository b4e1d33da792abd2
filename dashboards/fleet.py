"""The dashboard of all workers of a group: is everything delivered in time, and if not, why."""

from __future__ import annotations

from dashboards.fleet_causes import MEMBERS, RECORDS
from dashboards.panels import (
    BLUE,
    ORANGE,
    RED,
    Board,
    Choice,
    Panel,
    Query,
    Row,
    State,
    Threshold,
    above,
    below,
    breaker,
    holds,
    number,
    quantiles,
    stack,
    states,
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
        number(
            "Delivered in time",
            "Records delivered within the chosen number of seconds after they were written to "
            "Kafka, as a share of all records of the shown time. Records that still wait count as "
            "late. Low: look at the alerts and at the lag below.",
            (Query(_share("$__range"), ""),),
            unit="percentunit",
            width=4,
            colour=RED,
            thresholds=below(0.99, 0.999),
            empty="no records",
        ),
        number(
            "Error budget left",
            "What is left of the late records that the chosen objective allows in the shown time. "
            "Choose the period of your objective, such as 30 days, as the time range. Below 0: the "
            "objective is missed; -100 %: by twice the budget or more.",
            (Query(f"clamp_min(1 - {_burn('$__range')}, -1)", ""),),
            unit="percentunit",
            width=4,
            colour=RED,
            thresholds=below(0, 0.25),
            minimum=None,
            empty="no records",
        ),
        number(
            "Lag",
            "Records between the settled positions and the ends of the partitions. High and "
            "growing: see Lag and speed.",
            (Query(f"sum({_LAG})", ""),),
            width=4,
            colour=BLUE,
            runbook="not-delivering",
        ),
        number(
            "Oldest event has left",
            "Time until the oldest event that waits is too old for the API and is lost. Red: less "
            "than a day; end what delays it.",
            (Query("min(oldest_event_seconds_left)", ""),),
            unit="s",
            width=4,
            colour=RED,
            thresholds=below(DAY, 3 * DAY),
            runbook="events-expire-soon",
            empty="none waits",
        ),
        number(
            "Applications on hold",
            "Applications that the API refuses for a reason that is not in their rows. Above 0: "
            "see which, and why, in Applications on hold or throttled.",
            (Query("count(count by (application_id) (application_held)) or vector(0)", ""),),
            width=4,
            thresholds=(Threshold(1, RED),),
            runbook="application-held",
        ),
        number(
            "Workers ready",
            "Workers that are members of the group, of all workers that are scraped. Fewer than "
            "all: see Workers ready and running below.",
            (
                Query("sum(ready)", "ready"),
                Query("count(build_info)", "running"),
            ),
            width=4,
            colour=BLUE,
            runbook="not-ready",
        ),
        states(
            "Alerts",
            "Pending and firing alerts, without AppMetricaWorker in their names. Open the section "
            "of the runbook that has the name of the alert.",
            (
                Query(
                    "label_replace("
                    f"max by ({', '.join(_ALERT_LABELS)}) "
                    f'(2 * {_ALERTS},alertstate="firing"}} or {_ALERTS},alertstate="pending"}}), '
                    '"alertname", "$1", "alertname", "AppMetricaWorker(.*)")',
                    " ".join(f"{{{{{label}}}}}" for label in _ALERT_LABELS),
                ),
            ),
            states=(State(1, "pending", ORANGE), State(2, "firing", RED)),
            empty="no alert",
        ),
        breaker(
            "The API",
            "The breaker of each worker. open, probing: the API fails, and nothing but one "
            "request at a time is sent; records wait in Kafka. It closes by itself.",
        ),
        holds(
            "Applications on hold or throttled",
            "Since when and why each application waits. http_401, http_403: fix its key. "
            "refused_systemically: compare its events with the contract. Throttled: the API "
            "limits the rate; it continues by itself.",
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
        stack(
            "Lag by topic",
            "Grows without end: nothing is delivered, or too few workers run. A parking topic "
            "(.parked) falls by itself after the hold.",
            (Query(_LAG, "{{topic}}"),),
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
        number(
            "Loss begins in",
            "At the present rates, the time until the first event is too old and is lost. No "
            "value: none will be.",
            (Query("min(loss_begins_seconds < Inf)", "first loss"),),
            unit="s",
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

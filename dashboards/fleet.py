"""The dashboard of all workers of a group: is everything delivered in time, and if not, why."""

from __future__ import annotations

from dashboards.fleet_causes import MEMBERS, RECORDS
from dashboards.panels import (
    BLUE,
    ORANGE,
    RED,
    Board,
    Panel,
    Query,
    Row,
    State,
    Threshold,
    below,
    breaker,
    holds,
    number,
    stack,
    states,
)
from dashboards.service_level import CHOICES, DAY, DELIVERED_IN_TIME, ERROR_BUDGET_LEFT, OBJECTIVE

# A partition that moves is reported by two workers for a moment: it counts once.
_LAG = "sum by (topic) (max by (topic, partition) (consumer_lag_records))"
_LAG_GROWTH = "sum(deriv(consumer_lag_records[5m]))"
# An alert has the labels that its rule keeps: those about everything have no job.
_ALERTS = 'ALERTS{alertname=~"AppMetricaWorker.+",namespace=~"$namespace|",job=~"$job|"'
_ALERT_LABELS = ("alertname", "topic", "application_id", "reason", "stage", "instance")

NOW = Row(
    "Is everything all right?",
    (
        DELIVERED_IN_TIME,
        ERROR_BUDGET_LEFT,
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
    CHOICES,
    (NOW, OBJECTIVE, SPEED, RECORDS, MEMBERS),
)

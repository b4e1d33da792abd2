"""The service level: the share of records that were delivered in time, and its error budget."""

from __future__ import annotations

from dashboards.panels import (
    RED,
    Choice,
    Panel,
    Query,
    Row,
    Threshold,
    above,
    below,
    number,
    quantiles,
)

DAY = 86_400
# What a reader of the board chooses: within how many seconds, and for which share of all records.
CHOICES = (
    Choice("seconds", "In time: seconds", ("60", "30", "10", "5", "300", "1800", "3600")),
    Choice("objective", "Objective", ("0.999", "0.99", "0.995", "0.9999")),
)
# Prometheus 3 writes the bound 60 as 60.0.
_IN_TIME = 'delivery_latency_seconds_bucket{le=~"$seconds([.]0)?"}'


def share_in_time(window: str) -> str:
    """The share of records that were delivered in time.

    Records that were added to the lag within the window and still wait count as late; otherwise
    an outage, in which nothing is delivered, would look perfect.
    """
    waiting = f"clamp_min(sum(delta(consumer_lag_records[{window}])), 0)"
    return (
        f"sum(increase({_IN_TIME}[{window}])) / "
        f"(sum(increase(delivery_latency_seconds_count[{window}])) + {waiting} > 0)"
    )


def burn_rate(window: str) -> str:
    """How many times faster than allowed the error budget is used."""
    return f"(1 - {share_in_time(window)}) / (1 - $objective)"


DELIVERED_IN_TIME = number(
    "Delivered in time",
    "Records delivered within the chosen number of seconds after they were written to "
    "Kafka, as a share of all records of the shown time. Records that still wait count as "
    "late. Low: look at the alerts and at the lag below.",
    (Query(share_in_time("$__range"), ""),),
    unit="percentunit",
    width=4,
    colour=RED,
    thresholds=below(0.99, 0.999),
    empty="no records",
)
ERROR_BUDGET_LEFT = number(
    "Error budget left",
    "What is left of the late records that the chosen objective allows in the shown time. "
    "Choose the period of your objective, such as 30 days, as the time range. Below 0: the "
    "objective is missed; -100 %: by twice the budget or more.",
    (Query(f"clamp_min(1 - {burn_rate('$__range')}, -1)", ""),),
    unit="percentunit",
    width=4,
    colour=RED,
    thresholds=below(0, 0.25),
    minimum=None,
    empty="no records",
)

OBJECTIVE = Row(
    "Service level",
    (
        Panel(
            "Share delivered in time",
            "As above, in 5 minutes. A dip shows when the trouble began; compare it with the rows "
            "below.",
            (Query(share_in_time("5m"), "in time"),),
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
                Query(burn_rate("1h"), "1 hour"),
                Query(burn_rate("6h"), "6 hours"),
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

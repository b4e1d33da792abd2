"""Which situations the worker is in: the headline of the status page and of `top`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from worker.core.counters.counters import Counters
from worker.core.counters.forecast import BACKLOG_SECONDS
from worker.core.counters.situation import (
    Circumstances,
    Situation,
    Urgency,
    count_text,
    duration_text,
    held_records,
    time_until_loss,
)
from worker.core.counters.situation_rules import DRAINING, RULES

# After this time without an accepted row, a worker without work is idle.
IDLE_SECONDS = 30.0
_ORDER = (Urgency.CRITICAL, Urgency.WARNING, Urgency.NOTICE, Urgency.OK)


def situations(seen: Circumstances) -> list[Situation]:
    """Return the situations of the worker, the most urgent first; there is always one.

    A drain comes before all others, because every other situation ends with the process.
    """
    found = [situation for rule in RULES if (situation := rule(seen)) is not None]
    is_enough = seen.snapshot.is_stopping or any(
        situation.urgency in (Urgency.CRITICAL, Urgency.WARNING) for situation in found
    )
    if not is_enough:
        found.append(_progress(seen))
    return sorted(found, key=lambda item: (item.state != DRAINING, _ORDER.index(item.urgency)))


def worst(found: Iterable[Situation]) -> Urgency:
    """Return the highest urgency."""
    return min((situation.urgency for situation in found), key=_ORDER.index, default=Urgency.OK)


def _progress(seen: Circumstances) -> Situation:
    """Return the situation of a worker that nothing hinders."""
    snapshot, lag = seen.snapshot, seen.lag_records
    if not snapshot.partitions:
        return Situation(
            "standby",
            Urgency.OK,
            "Standing by: no partition is assigned to this worker",
            "It takes over when another worker ends.",
        )
    settled = seen.forecast.settled_per_second
    if lag and settled and lag > settled * BACKLOG_SECONDS:
        drain = seen.forecast.lag_drain_seconds
        when = (
            "the lag does not fall"
            if drain is None or math.isinf(drain)
            else f"the lag is gone in {duration_text(drain)}"
        )
        return Situation(
            "catching_up",
            Urgency.OK,
            f"Delivering, {count_text(lag, 'record')} behind",
            f"At the present rates {when}. {time_until_loss(seen)}",
        )
    if (
        not lag
        and not held_records(snapshot.rows)
        and _is_idle(snapshot.counters, seen.unix_seconds)
    ):
        return Situation(
            "idle", Urgency.OK, "Idle: every record is delivered", "New records are sent at once."
        )
    return Situation("delivering", Urgency.OK, "Delivering", time_until_loss(seen))


def _is_idle(counters: Counters, unix_seconds: float) -> bool:
    return unix_seconds - counters.last_delivery_unix_seconds > IDLE_SECONDS

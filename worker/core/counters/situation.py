"""A situation of the worker, the data of its rules, and its texts for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker.core.counters.forecast import Forecast
from worker.core.counters.snapshot import Snapshot
from worker.core.model.clock import Trust

_REASONS = {
    "http_401": "the API refuses the key (401)",
    "http_403": "the API refuses the key (403)",
    "http_404": "the API does not know the path (404)",
    "refused_systemically": "the API refuses nearly all rows",
}


class Urgency(StrEnum):
    """How soon a person should look."""

    OK = "ok"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Situation:
    """A situation of the worker: an obstacle, or ordinary operation.

    Attributes:
        state: a code that never changes.
        urgency: how soon a person should look.
        title: the situation in a few words.
        consequence: what follows if nobody acts.
        action: what to do; empty where nothing is to be done.
        since_unix_seconds: its beginning; None where that is not known.
    """

    state: str
    urgency: Urgency
    title: str
    consequence: str
    action: str = ""
    since_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The data from which the rules find situations.

    Attributes:
        unix_seconds: the moment.
        snapshot: the state of the core.
        forecast: what follows if the present rates continue.
        lag_records: the lag of all assigned partitions; None while an end is not known.
        end_age_seconds: the age of the oldest known end; None where none is known.
        not_ready_because: why the worker isn't a member of its group; None while it is.
        unreadable: the partitions that can't be read, each with its reason.
        key_files_unusable: the applications whose key file can't be used.
        stop_deadline_unix_seconds: the end of the drain; None while the worker isn't stopping.
        started_unix_seconds: the start of the process.
    """

    unix_seconds: float
    snapshot: Snapshot
    forecast: Forecast
    lag_records: int | None
    end_age_seconds: float | None
    not_ready_because: str | None
    unreadable: Mapping[str, str]
    key_files_unusable: tuple[int, ...]
    stop_deadline_unix_seconds: float | None
    started_unix_seconds: float


def duration_text(seconds: float) -> str:
    """Return a duration for people, in its two largest units."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    for unit, name, next_unit, next_name in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
    ):
        if whole >= unit:
            rest = whole % unit // next_unit
            return f"{whole // unit} {name}" + (f" {rest} {next_name}" if rest else "")
    return f"{whole // 60} min"


def reason_text(reason: str) -> str:
    """Return the reason of a hold or of a failure for people."""
    if reason in _REASONS:
        return _REASONS[reason]
    kind, _, code = reason.partition("_")
    if kind == "http" and code.isdigit():
        return f"the API answers {code}"
    if kind == "proxy" and code.isdigit():
        return f"the proxy answers {code}"
    return reason.replace("_", " ")


def held_records(rows: dict[str, int]) -> int:
    """Return how many records are in memory, given the number in each stage."""
    return sum(rows.values())


def is_explained(snapshot: Snapshot) -> bool:
    """Return whether another situation says why events wait."""
    return bool(
        snapshot.holds
        or snapshot.throttles
        or snapshot.is_dead_letter_blocked
        or snapshot.is_parking_blocked
        or snapshot.destination.breaker != "closed"
        or snapshot.clock.trust is Trust.DOUBTED
    )


def time_until_loss(seen: Circumstances) -> str:
    """Return when the first event is lost if nothing changes."""
    times = (seen.forecast.loss_begins_seconds, seen.forecast.oldest_event_seconds_left)
    if not is_explained(seen.snapshot):
        times = (seen.forecast.loss_begins_seconds, None)
    finite = [seconds for seconds in times if seconds is not None and math.isfinite(seconds)]
    if not finite:
        return "No loss is in sight."
    if min(finite) <= 0:
        return "The oldest waiting event is too old already."
    return f"No event is lost for {duration_text(min(finite))}; then the oldest one is too old."


def count_text(number: int, noun: str) -> str:
    """Return a number with its noun for people."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

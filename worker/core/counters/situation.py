"""What is the case with the worker, in words: the headline of the status page and of `top`.

Each rule looks at one thing and returns a situation or None. The most urgent situation is the
headline; among equals the order of `RULES` decides, because an earlier one explains the later ones:
behind an API that is down nothing else can be judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker.core.counters.counters import Counters
from worker.core.counters.forecast import BACKLOG_SECONDS, Forecast
from worker.core.counters.snapshot import HoldStatus, Snapshot
from worker.core.model.clock import Trust

# A broker is asked for the ends of its partitions every few seconds. Beyond this age it is silent.
END_AGE_SECONDS_MAX = 45.0
# A worker that starts joins its group in seconds, after a crash of its predecessor in a minute.
JOINING_SECONDS_MAX = 60.0
# A day: enough time to act, in working hours too.
LOSS_NEAR_SECONDS = 86_400
# After this time without an accepted row, a worker without work is idle.
IDLE_SECONDS = 30.0
# A lag of more than this time's work that grows is no chance.
BEHIND_SECONDS = 60.0
# The part of a broker's error text that fits into a headline's second line.
DETAIL_CHARACTERS_MAX = 300
DRAINING = "draining"
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


_ORDER = (Urgency.CRITICAL, Urgency.WARNING, Urgency.NOTICE, Urgency.OK)


@dataclass(frozen=True, slots=True)
class Situation:
    """One thing that is the case.

    Attributes:
        state: a code that never changes.
        urgency: how soon a person should look.
        title: what is the case.
        consequence: what follows if nothing is done.
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
    """What the rules look at.

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


def situations(seen: Circumstances) -> list[Situation]:
    """Return what is the case, the most urgent situation first; there is always one.

    A drain comes before all others: whatever else is the case ends with the process.
    """
    found = [situation for rule in RULES if (situation := rule(seen)) is not None]
    is_enough = seen.snapshot.is_stopping or any(
        one.urgency in (Urgency.CRITICAL, Urgency.WARNING) for one in found
    )
    if not is_enough:
        found.append(_progress(seen))
    return sorted(found, key=lambda one: (one.state != DRAINING, _ORDER.index(one.urgency)))


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


# --- the rules ------------------------------------------------------------------------------------


def _draining(seen: Circumstances) -> Situation | None:
    if not seen.snapshot.is_stopping:
        return None
    held = _held_rows(seen.snapshot.rows)
    deadline = seen.stop_deadline_unix_seconds
    within = "" if deadline is None else f" within {duration_text(deadline - seen.unix_seconds)}"
    return Situation(
        DRAINING,
        Urgency.NOTICE,
        f"Draining: {_count(held, 'record')} left",
        f"The worker stops{within}. Records that are not delivered by then are read again at the "
        "next start; none is lost.",
    )


def _clock(seen: Circumstances) -> Situation | None:
    clock = seen.snapshot.clock
    if clock.trust is not Trust.DOUBTED:
        return None
    ahead = clock.seconds_ahead
    apart = (
        "it differs from the records' times"
        if ahead is None
        else f"it is {duration_text(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the API's"
    )
    return Situation(
        "clock_doubted",
        Urgency.CRITICAL,
        f"Paused: the local clock is doubted, {apart}",
        f"Nothing is received. {_until_loss(seen)}",
        "Set the clock of the node (NTP); the worker resumes by itself.",
    )


def _blocked(seen: Circumstances) -> Situation | None:
    topics = [
        name
        for name, is_blocked in (
            ("dead-letter", seen.snapshot.is_dead_letter_blocked),
            ("parking", seen.snapshot.is_parking_blocked),
        )
        if is_blocked
    ]
    if not topics:
        return None
    return Situation(
        "topic_blocked",
        Urgency.CRITICAL,
        f"Paused: the {' and the '.join(topics)} topic can't be written",
        f"Nothing is received, so that no record is skipped. {_until_loss(seen)}",
        "Create the topic or grant WRITE; the worker resumes by itself.",
    )


def _kafka(seen: Circumstances) -> Situation | None:
    if seen.snapshot.is_stopping:
        return None
    age = seen.end_age_seconds
    is_silent = age is not None and age > END_AGE_SECONDS_MAX
    if seen.not_ready_because is None and not is_silent:
        return None
    if seen.unix_seconds - seen.started_unix_seconds < JOINING_SECONDS_MAX and not is_silent:
        return Situation(
            "joining",
            Urgency.WARNING,
            f"Joining the group: {seen.not_ready_because}",
            "Records wait in Kafka until this worker has joined.",
            since_unix_seconds=seen.started_unix_seconds,
        )
    because = seen.not_ready_because or "the brokers do not answer"
    return Situation(
        "kafka_down",
        Urgency.CRITICAL,
        f"Not receiving: {because[:DETAIL_CHARACTERS_MAX]}",
        "Nothing is received and nothing is committed. Rows in memory are still sent; they are "
        "sent again later where their commit fails.",
        "Start or connect the brokers, or see the last errors; the worker resumes by itself.",
        None if age is None or not is_silent else seen.unix_seconds - age,
    )


def _api(seen: Circumstances) -> Situation | None:
    api = seen.snapshot.destination
    if api.breaker == "closed":
        return None
    because = reason_text(api.failing_because) if api.failing_because else "it fails"
    if api.breaker == "ramping":
        return Situation(
            "api_recovering",
            Urgency.NOTICE,
            "The API works again; requests increase step by step",
            _until_loss(seen),
            since_unix_seconds=api.failing_since_unix_seconds,
        )
    return Situation(
        "api_down",
        Urgency.CRITICAL,
        f"API down: {because}",
        f"One request at a time asks whether it works again; records wait here and in Kafka. "
        f"{_until_loss(seen)}",
        "Nothing, if the topic's retention is longer than the outage; else increase it.",
        api.failing_since_unix_seconds,
    )


def _loss_near(seen: Circumstances) -> Situation | None:
    count = seen.snapshot.expiring_rows.get(LOSS_NEAR_SECONDS, 0)
    if not count:
        return None
    left = seen.forecast.oldest_event_seconds_left
    first = "" if left is None else f", the first in {duration_text(left)}"
    return Situation(
        "loss_near",
        Urgency.CRITICAL,
        f"{_count(count, 'waiting event')} will be too old within a day{first}",
        "The API refuses events that are too old: they become dead letters with the reason "
        "too_old.",
        "Remove what delays them: an application on hold, an API that fails, or too few workers.",
    )


def _held(seen: Circumstances) -> Situation | None:
    holds = seen.snapshot.holds
    if not holds:
        return None
    oldest = min(holds, key=lambda one: one.since_unix_seconds)
    rows = sum(one.rows for one in holds)
    others = f" and {len(holds) - 1:,} more" if len(holds) > 1 else ""
    parking = " Further records are parked." if any(one.is_parking for one in holds) else ""
    return Situation(
        "held",
        Urgency.WARNING,
        f"Held: application {oldest.application_id}{others}, {reason_text(oldest.reason)}",
        f"{_count(rows, 'row')} wait here; other applications are delivered.{parking} "
        f"{_until_loss(seen)}",
        _action_of(oldest),
        oldest.since_unix_seconds,
    )


def _unreadable(seen: Circumstances) -> Situation | None:
    if not seen.unreadable:
        return None
    place, detail = next(iter(seen.unreadable.items()))
    others = f" and {len(seen.unreadable) - 1:,} more" if len(seen.unreadable) > 1 else ""
    return Situation(
        "partition_unreadable",
        Urgency.WARNING,
        f"Partition {place}{others} can't be read",
        f"{detail[:DETAIL_CHARACTERS_MAX]}. Only these partitions wait; the others are delivered.",
        "See “A partition can't be read” in docs/operations.md.",
    )


def _key_files(seen: Circumstances) -> Situation | None:
    if not seen.key_files_unusable:
        return None
    first, count = seen.key_files_unusable[0], len(seen.key_files_unusable)
    others = f" and {count - 1:,} more" if count > 1 else ""
    return Situation(
        "key_file_unusable",
        Urgency.WARNING,
        f"The key file of application {first}{others} can't be used",
        "The previous key stays in use until the process ends.",
        "Repair the file; it is read again within two seconds.",
    )


def _falling_behind(seen: Circumstances) -> Situation | None:
    seconds, settled = seen.forecast.loss_begins_seconds, seen.forecast.settled_per_second
    # Without measured rates the forecast assumes that nothing is delivered.
    if settled is None or seconds is None or math.isinf(seconds) or _is_explained(seen.snapshot):
        return None
    # In a steady stream the measured rates differ by chance, and the lag stays small.
    if not seen.lag_records or seen.lag_records < settled * BEHIND_SECONDS:
        return None
    return Situation(
        "falling_behind",
        Urgency.WARNING,
        f"Falling behind: at the present rates loss begins in {duration_text(seconds)}",
        "From then on events are too old when their turn comes, and become dead letters.",
        f"Run more workers: these partitions need {seen.forecast.desired_replicas:.1f}.",
    )


def _imbalance(seen: Circumstances) -> Situation | None:
    if seen.snapshot.imbalance == 0:
        return None
    return Situation(
        "imbalance",
        Urgency.CRITICAL,
        f"The accounting can't explain {_count(abs(seen.snapshot.imbalance), 'record')}",
        "A bug in this program.",
        "Report it, with the log and /status.",
    )


def _throttled(seen: Circumstances) -> Situation | None:
    throttles = seen.snapshot.throttles
    if not throttles:
        return None
    first = throttles[0]
    others = f" and {len(throttles) - 1:,} more" if len(throttles) > 1 else ""
    return Situation(
        "throttled",
        Urgency.NOTICE,
        f"Throttled: application {first.application_id}{others}",
        f"{_count(sum(one.rows for one in throttles), 'row')} wait as long as the API asks.",
        "If it happens often: larger batches, or a lower delivery.requests_per_second_max.",
        min(one.since_unix_seconds for one in throttles),
    )


RULES: tuple[Callable[[Circumstances], Situation | None], ...] = (
    _draining,
    _imbalance,
    _blocked,
    _clock,
    _kafka,
    _api,
    _loss_near,
    _held,
    _unreadable,
    _key_files,
    _falling_behind,
    _throttled,
)


# --- what the rules share -------------------------------------------------------------------------


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
            f"Delivering, {_count(lag, 'record')} behind",
            f"At the present rates {when}. {_until_loss(seen)}",
        )
    if not lag and not _held_rows(snapshot.rows) and _is_idle(snapshot.counters, seen.unix_seconds):
        return Situation(
            "idle", Urgency.OK, "Idle: every record is delivered", "New records are sent at once."
        )
    return Situation("delivering", Urgency.OK, "Delivering", _until_loss(seen))


def _is_idle(counters: Counters, unix_seconds: float) -> bool:
    return unix_seconds - counters.last_delivery_unix_seconds > IDLE_SECONDS


def _held_rows(rows: dict[str, int]) -> int:
    return sum(rows.values())


def _is_explained(snapshot: Snapshot) -> bool:
    """Return whether another situation says why events wait."""
    return bool(
        snapshot.holds
        or snapshot.throttles
        or snapshot.is_dead_letter_blocked
        or snapshot.is_parking_blocked
        or snapshot.destination.breaker != "closed"
        or snapshot.clock.trust is Trust.DOUBTED
    )


def _until_loss(seen: Circumstances) -> str:
    """Return when the first event is lost if nothing changes."""
    times = (seen.forecast.loss_begins_seconds, seen.forecast.oldest_event_seconds_left)
    if not seen.snapshot.holds and not _is_explained(seen.snapshot):
        times = (seen.forecast.loss_begins_seconds, None)
    finite = [seconds for seconds in times if seconds is not None and math.isfinite(seconds)]
    if not finite:
        return "No loss is in sight."
    if min(finite) <= 0:
        return "The oldest waiting event is too old already."
    return f"No event is lost for {duration_text(min(finite))}; then the oldest one is too old."


def _action_of(hold: HoldStatus) -> str:
    if hold.reason in ("http_401", "http_403"):
        return "Put the right key into its key file, or restart the worker with it."
    if hold.reason.startswith("proxy_"):
        return "Correct the proxy's address, user and password, or allow the API in the proxy."
    if hold.reason == "refused_systemically":
        return "Compare a row with the API's documentation (dlq peek, why)."
    return "Check appmetrica.base_url, and what answers in place of the API."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def worst(found: Iterable[Situation]) -> Urgency:
    """Return the highest urgency."""
    return min((one.urgency for one in found), key=_ORDER.index, default=Urgency.OK)

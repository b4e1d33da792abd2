"""The rules that find the obstacles of the worker, one rule for each kind.

Each rule returns a situation or None. Among equally urgent situations the order of `RULES` decides,
because an earlier situation explains the later ones: while the API is down, records wait for that
reason alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from worker.core.counters.situation import (
    Circumstances,
    Situation,
    Urgency,
    count_text,
    duration_text,
    held_records,
    is_explained,
    reason_text,
    time_until_loss,
)
from worker.core.counters.snapshot import HoldStatus
from worker.core.model.clock import Trust

# A broker is asked for the ends of its partitions every few seconds. Beyond this age it is silent.
END_AGE_SECONDS_MAX = 45.0
# A worker joins its group within seconds, or within a minute if its predecessor crashed.
JOINING_SECONDS_MAX = 60.0
# A day: enough time to act, in working hours too.
LOSS_NEAR_SECONDS = 86_400
# A growing lag of more than this time's work can't be chance.
BEHIND_SECONDS = 60.0
# The part of a broker's error text that fits into a headline's second line.
DETAIL_CHARACTERS_MAX = 300
DRAINING = "draining"


def _draining(seen: Circumstances) -> Situation | None:
    if not seen.snapshot.is_stopping:
        return None
    held = held_records(seen.snapshot.rows)
    deadline = seen.stop_deadline_unix_seconds
    within = "" if deadline is None else f" within {duration_text(deadline - seen.unix_seconds)}"
    return Situation(
        DRAINING,
        Urgency.NOTICE,
        f"Draining: {count_text(held, 'record')} left",
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
        f"Nothing is received. {time_until_loss(seen)}",
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
        f"Nothing is received, so that no record is skipped. {time_until_loss(seen)}",
        "Remove the cause that the log line names: a missing topic, a missing WRITE permission, or "
        "a max.message.bytes that is too small. The worker resumes by itself.",
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
            time_until_loss(seen),
            since_unix_seconds=api.failing_since_unix_seconds,
        )
    return Situation(
        "api_down",
        Urgency.CRITICAL,
        f"API down: {because}",
        f"One request at a time asks whether it works again; records wait here and in Kafka. "
        f"{time_until_loss(seen)}",
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
        f"{count_text(count, 'waiting event')} will be too old within a day{first}",
        "The API refuses events that are too old: they become dead letters with the reason "
        "too_old.",
        "Remove what delays them: an application on hold, an API that fails, or too few workers.",
    )


def _held(seen: Circumstances) -> Situation | None:
    holds = seen.snapshot.holds
    if not holds:
        return None
    oldest = min(holds, key=lambda hold: hold.since_unix_seconds)
    rows = sum(hold.rows for hold in holds)
    others = f" and {len(holds) - 1:,} more" if len(holds) > 1 else ""
    parking = " Further records are parked." if any(hold.is_parking for hold in holds) else ""
    return Situation(
        "held",
        Urgency.WARNING,
        f"Held: application {oldest.application_id}{others}, {reason_text(oldest.reason)}",
        f"{count_text(rows, 'row')} wait here; other applications are delivered.{parking} "
        f"{time_until_loss(seen)}",
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
        "See docs/troubleshooting.md#a-partition-cannot-be-read.",
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
    if settled is None or seconds is None or math.isinf(seconds) or is_explained(seen.snapshot):
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
        f"The accounting can't explain {count_text(abs(seen.snapshot.imbalance), 'record')}",
        "A bug in this program.",
        "Report it, with the log and /status.",
    )


def _throttled(seen: Circumstances) -> Situation | None:
    throttles = seen.snapshot.throttles
    if not throttles:
        return None
    first = throttles[0]
    rows = sum(throttle.rows for throttle in throttles)
    others = f" and {len(throttles) - 1:,} more" if len(throttles) > 1 else ""
    return Situation(
        "throttled",
        Urgency.NOTICE,
        f"Throttled: application {first.application_id}{others}",
        f"{count_text(rows, 'row')} wait as long as the API asks.",
        "If it happens often: larger batches, or a lower delivery.requests_per_second_max.",
        min(throttle.since_unix_seconds for throttle in throttles),
    )


def _action_of(hold: HoldStatus) -> str:
    if hold.reason in ("http_401", "http_403"):
        return "Put the right key into its key file, or restart the worker with it."
    if hold.reason.startswith("proxy_"):
        return "Correct the proxy's address, user and password, or allow the API in the proxy."
    if hold.reason == "refused_systemically":
        return "Compare a row with the API's documentation (dlq peek, why)."
    return "Check appmetrica.base_url, and what answers in place of the API."


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

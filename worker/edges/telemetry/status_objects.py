"""The objects within `/status`, as tables of their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from worker.core.counters.counters import Drift, TopicCounters
from worker.core.counters.forecast import Forecast
from worker.core.counters.history import Flow
from worker.core.counters.situation import Situation
from worker.core.counters.snapshot import (
    DestinationStatus,
    HoldStatus,
    ThrottleStatus,
)
from worker.core.model.clock import ClockStatus
from worker.edges.telemetry.reading import ApplicationReading, PartitionReading

Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class Key(Generic[Source]):
    """One key of a JSON object.

    Attributes:
        name: the key.
        help: its meaning, and what to do when it looks wrong.
        read: its value.
        members: the keys of the object, or of each object in the list, that the value is.
    """

    name: str
    help: str
    read: Callable[[Source], object]
    members: tuple[Key[Any], ...] = ()


def key_of(name: str, help_text: str) -> Key[Any]:
    """Return a key whose value is the source's attribute of that name."""
    return Key(name, help_text, attrgetter(name))


def object_of(keys: Iterable[Key[Source]], source: Source) -> dict[str, object]:
    """Return the object that these keys read from the source."""
    return {key.name: key.read(source) for key in keys}


PARTITION: tuple[Key[PartitionReading], ...] = (
    Key("topic", "Its topic.", lambda one: one.status.assignment.topic),
    Key("partition", "Its number.", lambda one: one.status.assignment.partition),
    Key(
        "epoch",
        "Its assignment: rises with each rebalance.",
        lambda one: one.status.assignment.epoch,
    ),
    Key("position", "Offset of the next record to be received.", lambda one: one.status.position),
    Key(
        "safe_position",
        "First offset that is not settled: the offset that may be committed.",
        lambda one: one.status.safe_position,
    ),
    Key(
        "committed",
        "Committed offset; null before the first commit.",
        lambda one: one.status.committed,
    ),
    Key(
        "span_records",
        "Offsets between the safe position and the position; at `span_records_max` reception "
        "pauses.",
        lambda one: one.status.position - one.status.safe_position,
    ),
    Key("unsettled_records", "Records received, not settled.", lambda one: one.status.unsettled),
    key_of(
        "lag_records",
        "Offsets between the safe position and the end; null while the end is not known.",
    ),
    key_of(
        "records_behind_transaction",
        "Written offsets that can't be read before an open transaction ends.",
    ),
    key_of(
        "end_age_seconds",
        "Age of the known end. While the brokers don't answer it grows, and the lag is as old.",
    ),
    Key(
        "is_paused",
        "True while the partition is paused: see docs/troubleshooting.md#reading-is-paused.",
        lambda one: one.status.is_paused,
    ),
    Key(
        "is_draining",
        "True after a revocation, until the last answers have arrived.",
        lambda one: one.status.is_draining,
    ),
)

SITUATION: tuple[Key[Situation], ...] = (
    key_of(
        "state",
        "Its code: draining, imbalance, topic_blocked, clock_doubted, joining, kafka_down, "
        "api_down, api_recovering, loss_near, held, partition_unreadable, key_file_unusable, "
        "falling_behind, throttled, standby, catching_up, idle or delivering.",
    ),
    key_of("urgency", "How soon a person should look: critical, warning, notice or ok."),
    key_of("title", "The situation in a few words."),
    key_of("consequence", "What follows if nobody acts."),
    key_of("action", "What to do; empty where nothing is to be done."),
    key_of("since_unix_seconds", "Its start; null where that is not known."),
)

APPLICATION: tuple[Key[ApplicationReading], ...] = (
    key_of("application_id", "The application."),
    key_of("state", "delivering, held or throttled."),
    key_of(
        "key",
        "usable, refused (by the API), or file_unusable (the previous key stays in use).",
    ),
    key_of("reason", "Of the hold or the throttling; null without."),
    key_of("since_unix_seconds", "Start of the hold or the throttling; null without."),
    key_of(
        "next_request_unix_seconds",
        "When it is tried again: the probe of a hold, or the end of a pause; null without.",
    ),
    key_of("rows", "Rows that wait in this worker because of it."),
    key_of("is_parking", "True while its records are written to the parking topic."),
)

FLOW: tuple[Key[Flow], ...] = (
    key_of("measured_seconds", "The time over which the rates are measured, 10 to 20 s."),
    key_of("received", "Records received per second."),
    key_of("delivered", "Records answered with 200 per second."),
    key_of("duplicates", "Duplicates dropped per second."),
    key_of("dead_lettered", "Dead letters per second."),
    key_of("skipped", "Records skipped per second."),
    key_of("parked", "Records parked per second."),
    key_of("requests", "Requests per second."),
    key_of("requests_failed", "Requests per second with an answer other than 200, or none."),
)

HOLD: tuple[Key[HoldStatus], ...] = (
    key_of("application_id", "The application."),
    key_of(
        "reason",
        "Why the API refuses it. http_401 or http_403: fix the key. Others: see "
        "docs/troubleshooting.md#an-application-is-on-hold.",
    ),
    key_of("since_unix_seconds", "Start of the hold."),
    key_of("next_probe_unix_seconds", "When one batch is sent to see whether the hold is over."),
    key_of("rows", "Rows that wait in this worker."),
    key_of("is_parking", "True while its records are written to the parking topic."),
)

THROTTLE: tuple[Key[ThrottleStatus], ...] = (
    key_of("application_id", "The application."),
    key_of("reason", "The answer that throttles it."),
    key_of("since_unix_seconds", "Start."),
    key_of("paused_seconds", "Seconds until its next request."),
    key_of("rows", "Rows that wait in this worker."),
)

DESTINATION: tuple[Key[DestinationStatus], ...] = (
    key_of(
        "breaker",
        "closed: requests are sent. open: the API fails, and nothing is sent. probing: one request "
        "asks whether it works again. ramping: it does, and more are sent step by step.",
    ),
    key_of(
        "requests_in_flight_limit",
        "Requests that the API is expected to bear at once; falls when it is slow or fails.",
    ),
    key_of("requests_in_flight", "Requests without an answer at this moment."),
    key_of("failing_because", "Reason of the latest failure; null while the breaker is closed."),
    key_of(
        "failing_since_unix_seconds",
        "When the breaker opened; null while it is closed.",
    ),
    key_of(
        "next_probe_unix_seconds",
        "When one request asks whether the API works again; null unless the breaker is open.",
    ),
)

CLOCK: tuple[Key[ClockStatus], ...] = (
    key_of(
        "trust",
        "vouched, unvouched or doubted. doubted: nothing is received; set the node's clock.",
    ),
    key_of(
        "seconds_ahead",
        "How far the local clock is ahead of the API's; null while that is not known.",
    ),
)

FORECAST: tuple[Key[Forecast], ...] = (
    key_of("settled_per_second", "Records settled per second."),
    key_of("produced_per_second", "Records produced per second to the assigned partitions."),
    key_of("lag_drain_seconds", "Time until the lag is gone; inf: it does not fall."),
    key_of("oldest_event_seconds_left", "Time until the oldest waiting event is too old."),
    key_of("loss_begins_seconds", "Time until the first event is lost; inf: none will be."),
    key_of("desired_replicas", "Workers for these partitions; sum it over all workers."),
)

DRIFT: tuple[Key[tuple[Drift, int]], ...] = (
    Key("event_name", "Kind of event.", lambda drift: drift[0].event_name),
    Key("field", "The field.", lambda drift: drift[0].field),
    Key("change", "unknown, or the JSON type that was found.", lambda drift: drift[0].change),
    Key("records", "Records with this difference.", lambda drift: drift[1]),
)

TOPIC: tuple[Key[TopicCounters], ...] = (
    key_of("consumed", "Records received."),
    key_of("delivered", "Records answered with 200."),
    key_of("duplicates", "Records dropped as duplicates."),
    Key(
        "duplicates_by_content",
        "Duplicates without a producer's key: they are equal in every field.",
        lambda counters: counters.deduplicated["content"],
    ),
    Key(
        "without_key",
        "Records without a usable key, although the configuration names its place, by reason.",
        lambda counters: dict(counters.contract_drift.without_key),
    ),
    Key(
        "dead_lettered",
        "Dead letters by reason; `dlq peek` shows them.",
        lambda counters: {reason.value: count for reason, count in counters.dead_lettered.items()},
    ),
    Key(
        "skipped",
        "Records that are no events of their route, by reason: not_selected, tombstone.",
        lambda counters: {reason.value: count for reason, count in counters.skipped.items()},
    ),
    key_of("parked", "Records written to the parking topic."),
    key_of("given_back", "Records left to the next owner of their partition."),
    key_of(
        "offsets_skipped",
        "Offsets deleted before they were read: lost records. Increase the topic's retention.",
    ),
    key_of("log_truncations", "Truncations of a partition's log: the brokers lost records."),
    Key(
        "unusual_values",
        "Delivered values that the API's documentation doesn't list, by field.",
        lambda counters: dict(counters.contract_drift.unusual_values),
    ),
    Key(
        "drifts",
        "How records differ from the contract, most frequent first.",
        lambda counters: [
            object_of(DRIFT, drift) for drift in counters.contract_drift.drifts.most_common()
        ],
        DRIFT,
    ),
)

"""`/status` as tables: each key with its meaning and what to do when it looks wrong.

To add a key, add a row. The answer and `docs/metrics.md` (`make schema`) follow from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from worker.core.counters.counters import Drift, TopicAccount
from worker.core.counters.forecast import Forecast
from worker.core.counters.snapshot import (
    DestinationStatus,
    HoldStatus,
    ThrottleStatus,
)
from worker.core.model.clock import ClockStatus
from worker.edges.telemetry.reading import PartitionReading, Reading

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


def _field(name: str, help_text: str) -> Key[Any]:
    """Return a key whose value is the source's attribute of that name."""
    return Key(name, help_text, attrgetter(name))


def _object(keys: Iterable[Key[Source]], source: Source) -> dict[str, object]:
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
    Key("unsettled_records", "Records received, not settled.", lambda one: one.status.unsettled),
    _field(
        "lag_records",
        "Offsets between the safe position and the end; null while the end is not known.",
    ),
    _field(
        "records_behind_transaction",
        "Written offsets that can't be read before an open transaction ends.",
    ),
    _field(
        "end_age_seconds",
        "Age of the known end. While the brokers don't answer it grows, and the lag is as old.",
    ),
    Key(
        "is_paused",
        "True while the partition is not read: its span or the memory is at its limit.",
        lambda one: one.status.is_paused,
    ),
    Key(
        "is_draining",
        "True after a revocation, until the last answers have come.",
        lambda one: one.status.is_draining,
    ),
)

HOLD: tuple[Key[HoldStatus], ...] = (
    _field("application_id", "The application."),
    _field(
        "reason",
        "Why the API refuses it. http_401 or http_403: fix the key; see docs/operations.md.",
    ),
    _field("since_unix_seconds", "Start of the hold."),
    _field("next_probe_unix_seconds", "When one batch is sent to see whether the hold is over."),
    _field("rows", "Rows that wait in this worker."),
    _field("is_parking", "True while its records are written to the parking topic."),
)

THROTTLE: tuple[Key[ThrottleStatus], ...] = (
    _field("application_id", "The application."),
    _field("reason", "The answer that throttles it."),
    _field("since_unix_seconds", "Start."),
    _field("paused_seconds", "Seconds until its next request."),
    _field("rows", "Rows that wait in this worker."),
)

DESTINATION: tuple[Key[DestinationStatus], ...] = (
    _field(
        "breaker",
        "closed: requests are sent. open: the API fails, and nothing is sent. probing: one request "
        "asks whether it works again. ramping: it does, and more are sent step by step.",
    ),
    _field(
        "requests_in_flight_limit",
        "Requests that the API is expected to bear at once; falls when it is slow or fails.",
    ),
    _field("requests_in_flight", "Requests without an answer at this moment."),
)

CLOCK: tuple[Key[ClockStatus], ...] = (
    _field(
        "trust",
        "vouched, unvouched or doubted. doubted: nothing is received; set the node's clock.",
    ),
    _field(
        "seconds_ahead",
        "How far the local clock is ahead of the API's; null while that is not known.",
    ),
)

FORECAST: tuple[Key[Forecast], ...] = (
    _field("settled_per_second", "Records settled per second."),
    _field("produced_per_second", "Records produced per second to the assigned partitions."),
    _field("lag_drain_seconds", "Time until the lag is gone; inf: it does not fall."),
    _field("oldest_event_seconds_left", "Time until the oldest waiting event is too old."),
    _field("loss_begins_seconds", "Time until the first event is lost; inf: none will be."),
    _field("desired_replicas", "Workers for these partitions; sum it over all workers."),
)

DRIFT: tuple[Key[tuple[Drift, int]], ...] = (
    Key("event_name", "Kind of event.", lambda drift: drift[0].event_name),
    Key("field", "The field.", lambda drift: drift[0].field),
    Key("change", "unknown, or the JSON type that was found.", lambda drift: drift[0].change),
    Key("records", "Records with this difference.", lambda drift: drift[1]),
)

TOPIC: tuple[Key[TopicAccount], ...] = (
    _field("consumed", "Records received."),
    _field("delivered", "Records answered with 200."),
    _field("duplicates", "Records dropped as duplicates."),
    Key(
        "duplicates_by_content",
        "Duplicates without a producer's key: they are equal in every field.",
        lambda account: account.deduplicated["content"],
    ),
    Key(
        "without_key",
        "Records without a usable key, although the configuration names its place, by reason.",
        lambda account: dict(account.remarks.without_key),
    ),
    Key(
        "dead_lettered",
        "Dead letters by reason; `dlq peek` shows them.",
        lambda account: {reason.value: count for reason, count in account.dead_lettered.items()},
    ),
    _field("parked", "Records written to the parking topic."),
    _field("given_back", "Records left to the next owner of their partition."),
    _field(
        "offsets_skipped",
        "Offsets deleted before they were read: lost records. Increase the topic's retention.",
    ),
    _field("log_truncations", "Truncations of a partition's log: the brokers lost records."),
    Key(
        "unusual_values",
        "Delivered values that the API's documentation doesn't list, by field.",
        lambda account: dict(account.remarks.unusual_values),
    ),
    Key(
        "drifts",
        "How records differ from the contract, most frequent first.",
        lambda account: [_object(DRIFT, drift) for drift in account.remarks.drifts.most_common()],
        DRIFT,
    ),
)

STATUS: tuple[Key[Reading], ...] = (
    Key("version", "Version of the worker.", lambda reading: reading.info.version),
    Key("time_unix_seconds", "When this was read.", lambda reading: reading.unix_seconds),
    Key("is_stopping", "True after a stop signal.", lambda reading: reading.snapshot.is_stopping),
    _field("not_ready_because", "Why /readyz answers 503; null while the worker is ready."),
    Key(
        "dead_letter_topic_is_blocked",
        "True while dead letters can't be written and consumption is paused. Create the topic or "
        "grant WRITE.",
        lambda reading: reading.snapshot.is_dead_letter_blocked,
    ),
    Key(
        "parking_topic_is_blocked",
        "True while records can't be parked and consumption is paused. Create the topic or grant "
        "WRITE.",
        lambda reading: reading.snapshot.is_parking_blocked,
    ),
    Key(
        "partitions",
        "The partitions assigned to this worker.",
        lambda reading: [_object(PARTITION, one) for one in reading.partitions],
        PARTITION,
    ),
    Key(
        "partitions_in_trouble",
        "Partitions that can't be read, each with `topic`, `partition` and `detail`.",
        lambda reading: [
            {"topic": one.topic, "partition": one.partition, "detail": detail}
            for one, detail in reading.partition_errors.items()
        ],
    ),
    Key(
        "holds",
        "Applications on hold.",
        lambda reading: [_object(HOLD, hold) for hold in reading.snapshot.holds],
        HOLD,
    ),
    Key(
        "throttled_applications",
        "Applications that the API throttles.",
        lambda reading: [_object(THROTTLE, one) for one in reading.snapshot.throttles],
        THROTTLE,
    ),
    Key(
        "records_held",
        "Records in memory by stage: linked, batching, waiting, in_flight, dead_letter, parking.",
        lambda reading: reading.snapshot.rows,
    ),
    Key(
        "held_bytes",
        "Bytes of records in memory, at most limits.memory_bytes_max plus one chunk.",
        lambda reading: reading.snapshot.held_bytes,
    ),
    Key(
        "destination",
        "How the API is doing.",
        lambda reading: _object(DESTINATION, reading.snapshot.destination),
        DESTINATION,
    ),
    Key(
        "clock",
        "The local clock, compared with the API's.",
        lambda reading: _object(CLOCK, reading.snapshot.clock),
        CLOCK,
    ),
    Key(
        "dedup_window_rows",
        "Remembered keys of delivered events.",
        lambda reading: reading.snapshot.dedup_window_rows,
    ),
    Key(
        "oldest_unsettled_event_timestamp_seconds",
        "Unix time of the oldest event that waits for delivery; null: none waits.",
        lambda reading: reading.snapshot.oldest_event_timestamp,
    ),
    Key(
        "forecast",
        "What follows if the rates of the last minutes continue; null: not known.",
        lambda reading: _object(FORECAST, reading.forecast),
        FORECAST,
    ),
    Key(
        "accounting_imbalance_records",
        "Records that the accounting can't explain. Not 0: a bug in this program, report it.",
        lambda reading: reading.snapshot.imbalance,
    ),
    Key(
        "topics",
        "What became of the records of each topic, since the start of the process.",
        lambda reading: {
            topic: _object(TOPIC, account)
            for topic, account in reading.snapshot.account.topics.items()
        },
        TOPIC,
    ),
    Key(
        "requests",
        "Requests by HTTP status or transport fault.",
        lambda reading: dict(reading.snapshot.account.requests),
    ),
    Key(
        "retries",
        "Requests sent again, by reason.",
        lambda reading: dict(reading.snapshot.account.retries),
    ),
    Key(
        "commits",
        "Commits by result.",
        lambda reading: dict(reading.snapshot.account.commits),
    ),
    Key(
        "last_delivery_timestamp_seconds",
        "Unix time of the last 200; 0: never.",
        lambda reading: reading.snapshot.account.last_delivery_unix_seconds,
    ),
    Key(
        "last_commit_timestamp_seconds",
        "Unix time of the last successful commit; 0: never.",
        lambda reading: reading.snapshot.account.last_commit_unix_seconds,
    ),
    Key(
        "last_errors",
        "The latest warnings and errors of the log, the last one last.",
        lambda reading: reading.logs.latest(),
    ),
)


def status_of(reading: Reading) -> dict[str, object]:
    """Return the answer of `/status`."""
    return _object(STATUS, reading)

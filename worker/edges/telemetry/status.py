"""`/status` as a table: each key with its meaning and what to do when it looks wrong.

To add a key, add a row here or to the table of its object. The answer and `docs/metrics.md`
(`make schema`) follow from the rows.
"""

from __future__ import annotations

from worker.edges.telemetry.reading import Reading
from worker.edges.telemetry.status_objects import (
    CLOCK,
    DESTINATION,
    FORECAST,
    HOLD,
    PARTITION,
    THROTTLE,
    TOPIC,
    Key,
    key_of,
    object_of,
)

STATUS: tuple[Key[Reading], ...] = (
    Key("version", "Version of the worker.", lambda reading: reading.info.version),
    Key("time_unix_seconds", "When this was read.", lambda reading: reading.unix_seconds),
    Key("is_stopping", "True after a stop signal.", lambda reading: reading.snapshot.is_stopping),
    key_of("not_ready_because", "Why /readyz answers 503; null while the worker is ready."),
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
        lambda reading: [object_of(PARTITION, one) for one in reading.partitions],
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
        lambda reading: [object_of(HOLD, hold) for hold in reading.snapshot.holds],
        HOLD,
    ),
    Key(
        "throttled_applications",
        "Applications that the API throttles.",
        lambda reading: [object_of(THROTTLE, one) for one in reading.snapshot.throttles],
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
        lambda reading: object_of(DESTINATION, reading.snapshot.destination),
        DESTINATION,
    ),
    Key(
        "clock",
        "The local clock, compared with the API's.",
        lambda reading: object_of(CLOCK, reading.snapshot.clock),
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
        "events_expiring_within_seconds",
        "Events that wait in this worker and are too old within 3600, 21600 and 86400 seconds.",
        lambda reading: {
            str(window): rows for window, rows in reading.snapshot.expiring_rows.items()
        },
    ),
    Key(
        "forecast",
        "What follows if the rates of the last minutes continue; null: not known.",
        lambda reading: object_of(FORECAST, reading.forecast),
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
            topic: object_of(TOPIC, account)
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
    return object_of(STATUS, reading)

"""`/status` as a table: each key with its meaning and what to do when it looks wrong.

To add a key, add a row here or to the table of its object. The answer and `docs/metrics.md`
(`make schema`) follow from the rows.
"""

from __future__ import annotations

from worker.edges.telemetry.reading import Reading
from worker.edges.telemetry.status_objects import (
    APPLICATION,
    CLOCK,
    DESTINATION,
    FLOW,
    FORECAST,
    HOLD,
    PARTITION,
    SITUATION,
    THROTTLE,
    TOPIC,
    Key,
    key_of,
    object_of,
)

# Applications are configured by the hundred in some places: those in trouble come first.
APPLICATIONS_MAX = 100

STATUS: tuple[Key[Reading], ...] = (
    Key("version", "Version of the worker.", lambda reading: reading.info.version),
    Key("host", "Name of the machine or of the pod.", lambda reading: reading.info.host),
    Key("group_id", "The consumer group.", lambda reading: reading.info.group_id),
    Key(
        "started_unix_seconds",
        "Start of the process.",
        lambda reading: reading.info.started_unix_seconds,
    ),
    Key("time_unix_seconds", "When this was read.", lambda reading: reading.unix_seconds),
    Key(
        "situations",
        "The situations of the worker, in words, the most urgent situation first.",
        lambda reading: [object_of(SITUATION, one) for one in reading.situations],
        SITUATION,
    ),
    Key(
        "flow",
        "Rates of the last seconds over all topics; null in the first moment.",
        lambda reading: None if reading.flow is None else object_of(FLOW, reading.flow),
        FLOW,
    ),
    Key("is_stopping", "True after a stop signal.", lambda reading: reading.snapshot.is_stopping),
    key_of("stop_deadline_unix_seconds", "The end of the drain; null before a stop signal."),
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
        "partition_count",
        "Number of partitions assigned to this worker.",
        lambda reading: len(reading.snapshot.partitions),
    ),
    key_of("lag_records", "Lag of these partitions; null while an end is not known."),
    Key(
        "span_records_max",
        "limits.span_records_max.",
        lambda reading: reading.info.span_records_max,
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
        "applications",
        f"The configured applications, those in trouble first, at most {APPLICATIONS_MAX}.",
        lambda reading: [
            object_of(APPLICATION, one) for one in reading.applications[:APPLICATIONS_MAX]
        ],
        APPLICATION,
    ),
    Key(
        "application_count",
        "Number of configured applications.",
        lambda reading: len(reading.info.applications),
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
        "Bytes of records and of the bodies of requests in flight. Records take at most "
        "limits.memory_bytes_max plus one chunk; the bodies come on top.",
        lambda reading: reading.snapshot.held_bytes,
    ),
    Key(
        "held_bytes_max",
        "limits.memory_bytes_max: reception pauses at seven eighths of it, and resumes at half.",
        lambda reading: reading.info.buffer_bytes_max,
    ),
    Key(
        "destination",
        "The state of the API.",
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
            topic: object_of(TOPIC, counters)
            for topic, counters in reading.snapshot.counters.topics.items()
        },
        TOPIC,
    ),
    Key(
        "requests",
        "Requests by HTTP status or transport fault.",
        lambda reading: dict(reading.snapshot.counters.requests),
    ),
    Key(
        "retries",
        "Requests sent again, by reason.",
        lambda reading: dict(reading.snapshot.counters.retries),
    ),
    Key(
        "commits",
        "Commits by result.",
        lambda reading: dict(reading.snapshot.counters.commits),
    ),
    Key(
        "last_delivery_timestamp_seconds",
        "Unix time of the last 200; 0: never.",
        lambda reading: reading.snapshot.counters.last_delivery_unix_seconds,
    ),
    Key(
        "last_commit_timestamp_seconds",
        "Unix time of the last successful commit; 0: never.",
        lambda reading: reading.snapshot.counters.last_commit_unix_seconds,
    ),
    Key(
        "log_level",
        "Lowest level of the log: log.level, or debug after SIGUSR1.",
        lambda reading: reading.logs.level.name,
    ),
    Key(
        "last_errors",
        "The latest warnings and errors of the log, the last one last. `action` says what to do. "
        "See docs/logs.md.",
        lambda reading: reading.logs.latest(),
    ),
)


def status_of(reading: Reading) -> dict[str, object]:
    """Return the answer of `/status`."""
    return object_of(STATUS, reading)

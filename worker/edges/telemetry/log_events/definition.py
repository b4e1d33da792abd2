"""What defines a log line: a row of the tables in this package.

To add a log line, add a row to the table of its subject, and its new fields to `FIELDS`.
`docs/logs.md` (`make schema`) and the action in `/status`, `last_errors`, follow from the row.
"""

from __future__ import annotations

from dataclasses import dataclass

# Fields that any line may have.
COMMON_FIELDS = {
    "ts": "The time, RFC 3339 in UTC. In the console format: the local time of the day.",
    "level": "debug, info, warning (the worker recovers by itself) or error (needs attention).",
    "logger": "The part of the worker, or the library.",
    "event": "The code. Of a library's line: its text.",
    "error": "The stack of an exception.",
    "stack": "The stack of the caller.",
    "client_detail": "Of a line about Kafka: what the client wrote last about its connections.",
    "repeats_held_back": "Lines of the same kind that were suppressed in the minute before.",
}

FIELDS = {
    "admin_port": "The port of `/status` and of the metrics.",
    "application_id": "The application.",
    "batch_id": "The batch, the same for a request and its answer.",
    "bytes": "The size of the body.",
    "cause": "SIGQUIT, a blocked event loop, or why the consumer is replaced.",
    "characters": "The most characters of commit metadata that the brokers take.",
    "code": "The code of the line that was written.",
    "count": "The full number of entries; the list in this line may be shorter.",
    "detail": "What is wrong, in words.",
    "drain_seconds": "The setting shutdown.drain_seconds.",
    "error_kind": "The class of an exception.",
    "events": "Events and commands: time, kind, and their numbers.",
    "exit_code": "The exit code; docs/operations.md#start-stop-exit-codes lists them.",
    "fast_pass": "The form of the intake's fast pass: `compiled` or `python`.",
    "fault": "The fault of a request without a usable answer.",
    "group_id": "The consumer group.",
    "kind": "The kind of event or command.",
    "line": "The line in the source of the logger.",
    "lines": "How many lines are missing.",
    "log_level": "The lowest level that is written from now on.",
    "logger_name": "The logger whose line could not be formatted.",
    "may_pass_over_records": "True: records below `resumed_at` may have been skipped.",
    "member_id": "The member of the group.",
    "members": "How many members.",
    "next_offset": "The offset after the chunk.",
    "offset": "The offset.",
    "offsets": "How many offsets were passed over.",
    "part": "The part of the worker.",
    "partition": "The partition, as topic-number; with its epoch where it is assigned.",
    "partitions": "How many partitions; in `diagnostics_partitions`, their states.",
    "path": "The file.",
    "pause_seconds": "The time until the next request.",
    "position": "The offset that would have been read next.",
    "producer_trace_id": "The W3C trace id of the first record of the batch that has one.",
    "reason": "The reason: an HTTP status, a fault of the transport, or words.",
    "records": "How many records.",
    "resource": "The resource of the API.",
    "resumed_at": "The offset at which reading continues.",
    "retry_seconds": "The time until the next attempt.",
    "rows": "How many rows.",
    "rows_max": "The most rows of one request from now on.",
    "seconds": "How long it took.",
    "seconds_ahead": "How far the local clock is ahead of the API's.",
    "signal": "The signal.",
    "spans": "How many spans.",
    "status": "The HTTP status of the answer.",
    "tasks": "Each task, and where in the code it waits.",
    "thread_name": "The thread.",
    "threads": "Each thread, and where in the code it is.",
    "time_factor": "How many times the ordinary time a request may take.",
    "topic": "The topic.",
    "trace_id": "The trace of the batch, while tracing.enabled is true.",
    "uncommitted_records": "Offsets that were settled and are not committed.",
    "unsettled_records": "Records that were received and are not settled.",
    "variables": "The first names of the variables.",
    "version": "The version of the worker.",
    "witness": "What the clock was compared with: api or records.",
    "*_total": "Records since the start, by reason, such as `missing_total`.",
}


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A line of the log.

    Attributes:
        code: its name, which never changes: the message of the line.
        levels: its level; more than one where the consequence differs.
        meaning: what has happened.
        action: what to do; empty where there is nothing to do.
        fields: what it has beside `COMMON_FIELDS`; some only where they are known.
    """

    code: str
    levels: tuple[str, ...]
    meaning: str
    action: str
    fields: tuple[str, ...] = ()


def info(code: str, meaning: str, action: str = "", fields: tuple[str, ...] = ()) -> LogEvent:
    """Return a line about the ordinary course of things."""
    return LogEvent(code, ("info",), meaning, action, fields)


def warning(code: str, meaning: str, action: str = "", fields: tuple[str, ...] = ()) -> LogEvent:
    """Return a line about a fault from which the worker recovers by itself."""
    return LogEvent(code, ("warning",), meaning, action, fields)


def error(code: str, meaning: str, action: str = "", fields: tuple[str, ...] = ()) -> LogEvent:
    """Return a line about a fault that needs a person."""
    return LogEvent(code, ("error",), meaning, action, fields)

"""Log lines: one per event, JSON or for people, without secrets and without floods.

The convention: the message is the event's code in snake_case, which never changes, and `extra`
holds the fields. The tables in `log_events` explain every code and every field:

    logger.warning("commit_failed", extra={"detail": "no answer in time"})

The lines of libraries pass through the same handler, so they are redacted and limited as well.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

import orjson

from worker.edges.telemetry.log_filters import (
    ClientConnections,
    Lines,
    LogLevel,
    RecentLogs,
    RepeatLimit,
)
from worker.edges.telemetry.log_writer import LineWriter
from worker.edges.telemetry.redaction import Redactor, plain, printable, text

# How long waiting lines may delay the end of the process.
FLUSH_SECONDS_MAX = 1.0

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


# Opens the lines' destination, given what formats the line about dropped lines.
OpenLines = Callable[[Callable[[int], str]], Lines]
_TO_STANDARD_ERROR: OpenLines = partial(LineWriter, 2)


class JsonFormatter(logging.Formatter):
    """Formats a line as one JSON object.

    Its keys: `ts` (RFC 3339, UTC), `level`, `logger`, `event`, the fields, `error`, `stack`.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, redacted."""
        redact = self._redactor.redact
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": text(record.name),
            "event": text(record.getMessage(), redact),
        }
        if record.exc_info:
            line["error"] = text(self.formatException(record.exc_info), redact)
        if record.stack_info:
            line["stack"] = text(record.stack_info, redact)
        # A library's field may have one of these names: it must not hide the event.
        fields = {
            text(name): plain(value, redact)
            for name, value in fields_of(record).items()
            if name not in line
        }
        return orjson.dumps(line | fields).decode()


class ConsoleFormatter(logging.Formatter):
    """Formats a line for people: time, level, event, fields as name=value."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the line (and an exception's lines below it), redacted."""
        redact = self._redactor.redact
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(
            f"{name}={plain(value, redact)}" for name, value in fields_of(record).items()
        )
        event = text(record.getMessage(), redact) + (f"  {fields}" if fields else "")
        line = f"{moment} {record.levelname.lower():7} {printable(event)}"
        if record.exc_info:
            line += "\n" + text(self.formatException(record.exc_info), redact)
        if record.stack_info:
            line += "\n" + text(record.stack_info, redact)
        return line


class LogHandler(logging.StreamHandler[Lines]):
    """Writes lines.

    A line that can't be formatted is replaced by a line that names its origin and nothing of its
    content. The standard library would print the message and its arguments to standard error, past
    every formatter: with secrets.
    """

    terminator = ""

    def __init__(self, lines: Lines, recent: RecentLogs, redactor: Redactor) -> None:
        super().__init__(lines)
        self._recent = recent
        self._json = JsonFormatter(redactor)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, and keep it if it is a warning or an error."""
        super().emit(record)
        if record.levelno >= logging.WARNING:
            try:
                self._recent.note(self._json.format(record))
            except (ValueError, TypeError):
                # `handleError` has written a line about it already.
                return

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is the standard library's
        """Write a line in place of `record`, whose formatting has raised."""
        error = sys.exc_info()[0]
        fields = {
            "logger_name": record.name,
            "line": record.lineno,
            "error_kind": error.__name__ if error is not None else "",
        }
        self.stream.write(self.format(_record(logging.ERROR, "log_line_failed", fields)))

    def flush(self) -> None:
        """Do nothing: it is called after each line, and lines are written by themselves."""

    def close(self) -> None:
        """Wait for the lines so far, but not longer than `FLUSH_SECONDS_MAX`."""
        self.stream.flush(FLUSH_SECONDS_MAX)
        super().close()


def _record(level: int, event: str, fields: dict[str, object]) -> logging.LogRecord:
    """Return a log record about the log itself."""
    name = logging.getLevelName(level)
    return logging.makeLogRecord(
        {"name": __name__, "levelno": level, "levelname": name, "msg": event, **fields}
    )


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields that were given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}


def configure_logging(
    format_name: str, level: str, secrets: Iterable[str], open_lines: OpenLines = _TO_STANDARD_ERROR
) -> RecentLogs:
    """Send the lines of every logger to one handler; returns the counts and the latest errors."""
    redactor = Redactor(secrets)
    formatter = JsonFormatter(redactor) if format_name == "json" else ConsoleFormatter(redactor)
    lines = open_lines(
        lambda count: formatter.format(
            _record(logging.WARNING, "log_lines_dropped", {"lines": count})
        )
    )
    recent = RecentLogs(redactor, lines, LogLevel(level))
    handler = LogHandler(lines, recent, redactor)
    handler.setFormatter(formatter)
    # First: a folded line is not counted.
    handler.addFilter(ClientConnections())
    handler.addFilter(recent)
    handler.addFilter(RepeatLimit())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    recent.level.apply()
    logging.captureWarnings(capture=True)
    return recent


def log_stray_exceptions() -> None:
    """Log the exceptions that nobody can catch: in a destructor, in a thread.

    The interpreter would write them to standard error, unredacted.
    """
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_of_thread


def _log_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    error = unraisable.exc_value
    logging.getLogger(__name__).error(
        "exception_ignored", extra={"detail": unraisable.err_msg}, exc_info=error
    )


def _log_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread is not None else None
    logging.getLogger(__name__).error(
        "thread_failed", extra={"thread_name": name}, exc_info=ended.exc_value
    )

"""Log lines: one an event, JSON for machines or plain for people, without secrets and without
floods.

The convention: the message is a stable snake_case name of what happened, and `extra` holds the
fields:

    logger.warning("commit_failed", extra={"detail": "no answer in time"})

Libraries' own lines pass through the same handler, so they are redacted and limited as well.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import orjson

from worker.edges.telemetry.log_writer import LineWriter
from worker.edges.telemetry.plain_values import plain, printable, text
from worker.edges.telemetry.redaction import Redactor

# So many lines of one kind pass in a window; what follows is counted, and told in one line when the
# window is over.
REPEATS_MAX = 5
WINDOW_SECONDS = 60.0
# Kinds of lines that are watched at once. The one seen longest ago is forgotten first.
KINDS_MAX = 512
# The latest warnings and errors that `/status` shows.
TROUBLES_MAX = 20
# How long the lines that wait may hold up the end of the process.
FLUSH_SECONDS_MAX = 1.0

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(slots=True)
class _Window:
    began_seconds: float
    passed: int = 0
    held_back: int = 0


class RepeatLimit(logging.Filter):
    """Lets the first few lines of a kind pass in each window, and says afterwards how many it held
    back.

    A kind is logger, level and message template, whatever the fields.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: OrderedDict[tuple[str, int, str], _Window] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """True if the line is to be written.

        The first of a new window carries what the last one held back.
        """
        kind = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        window = self._windows.pop(kind, None)
        if window is None or now - window.began_seconds >= WINDOW_SECONDS:
            held_back = window.held_back if window is not None else 0
            window = _Window(now)
            if held_back:
                record.repeats_held_back = held_back
        self._windows[kind] = window
        if len(self._windows) > KINDS_MAX:
            self._windows.popitem(last=False)
        window.passed += 1
        if window.passed > REPEATS_MAX:
            window.held_back += 1
            return False
        return True


class Lines(Protocol):
    """Where lines go.

    No call waits for whoever reads them, `flush` no longer than it is allowed to.
    """

    @property
    def dropped(self) -> int: ...
    def offer(self, line: str, /) -> None: ...
    def flush(self, seconds_max: float, /) -> bool: ...


# Opens them, given what makes the line that says how many were dropped.
OpenLines = Callable[[Callable[[int], str]], Lines]
_TO_STANDARD_ERROR: OpenLines = partial(LineWriter, 2)


class RecentLogs(logging.Filter):
    """What the lines were: counts by level, whether written or held back; and the latest that tell
    of trouble.
    """

    def __init__(self, redactor: Redactor, lines: Lines) -> None:
        super().__init__()
        self._redactor = redactor
        self._lines = lines
        self.by_level: Counter[str] = Counter()
        self._partition_errors: deque[str] = deque(maxlen=TROUBLES_MAX)

    @property
    def lines_dropped(self) -> int:
        """How many lines could not be written."""
        return self._lines.dropped

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True: it only counts."""
        self.by_level[record.levelname.lower()] += 1
        return True

    def learn_secret(self, secret: str) -> None:
        """Keep this out of every line from now on."""
        self._redactor.learn(secret)

    def note(self, line: str) -> None:
        """A warning or an error was written: this is its JSON line, redacted."""
        self._partition_errors.append(line)

    def partition_errors(self) -> list[dict[str, object]]:
        """The latest warnings and errors, the last one last."""
        # A copy: other threads log as well.
        return [orjson.loads(line) for line in tuple(self._partition_errors)]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `ts` (RFC 3339, UTC), `level`, `logger`, `event`, the fields, and
    `error` for an exception.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The line, redacted."""
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
        # A library's field may have one of these names: what happened stays readable.
        fields = {
            text(name): plain(value, redact)
            for name, value in fields_of(record).items()
            if name not in line
        }
        return orjson.dumps(line | fields).decode()


class ConsoleFormatter(logging.Formatter):
    """A line for people: time, level, what happened, fields as name=value."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The line (and an exception's lines below it), redacted."""
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


class _Stream:
    """Lines as the standard library's handlers write them."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def write(self, line: str) -> None:
        self._lines.offer(line)


class LogHandler(logging.StreamHandler[_Stream]):
    """Writes lines. One that can't be formatted is told of in a line that names its origin, and
    nothing of its content.

    The standard library would print the message and its arguments to standard error, past every
    formatter: with secrets.
    """

    terminator = ""

    def __init__(self, lines: Lines, journal: RecentLogs, redactor: Redactor) -> None:
        super().__init__(_Stream(lines))
        self._lines = lines
        self._journal = journal
        self._json = JsonFormatter(redactor)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, and note it if it tells of trouble."""
        super().emit(record)
        if record.levelno >= logging.WARNING:
            try:
                self._journal.note(self._json.format(record))
            except (ValueError, TypeError):
                # `handleError` has told of it already.
                return

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is the standard library's
        """Called where formatting `record` has raised."""
        error = sys.exc_info()[0]
        fields = {
            "logger_name": record.name,
            "line": record.lineno,
            "error_kind": error.__name__ if error is not None else "",
        }
        self._lines.offer(self.format(_record(logging.ERROR, "log_line_failed", fields)))

    def flush(self) -> None:
        """Nothing: called behind every line, and lines go out by themselves."""

    def close(self) -> None:
        """The process ends; for whoever reads the lines it waits no longer than this."""
        self._lines.flush(FLUSH_SECONDS_MAX)
        super().close()


def _record(level: int, event: str, fields: dict[str, object]) -> logging.LogRecord:
    """A line about lines."""
    name = logging.getLevelName(level)
    return logging.makeLogRecord(
        {"name": __name__, "levelno": level, "levelname": name, "msg": event, **fields}
    )


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}


def configure_logging(
    format_name: str, level: str, secrets: Iterable[str], open_lines: OpenLines = _TO_STANDARD_ERROR
) -> RecentLogs:
    """Send every logger's lines to one handler. Returns the journal of these lines."""
    redactor = Redactor(secrets)
    formatter = JsonFormatter(redactor) if format_name == "json" else ConsoleFormatter(redactor)
    lines = open_lines(
        lambda count: formatter.format(
            _record(logging.WARNING, "log_lines_dropped", {"lines": count})
        )
    )
    journal = RecentLogs(redactor, lines)
    handler = LogHandler(lines, journal, redactor)
    handler.setFormatter(formatter)
    handler.addFilter(journal)
    handler.addFilter(RepeatLimit())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # aiokafka tells of every rebalance step at info, and of each retried request at error; ours say
    # what matters.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    return journal


def log_stray_exceptions() -> None:
    """Exceptions that nobody can catch (in a destructor, in a thread) go to the log: not to
    standard error, unredacted.
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

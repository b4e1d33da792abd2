"""What passes to the log: its level, folded lines, repetitions, counts, the latest errors."""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import orjson

from worker.edges.telemetry.log_events.pipeline import PIPELINE
from worker.edges.telemetry.log_events.process import KAFKA, PROCESS
from worker.edges.telemetry.redaction import Redactor

# Lines of one kind that pass in a window. Further lines are counted; the first line of the next
# window has their number.
REPEATS_MAX = 5
WINDOW_SECONDS = 60.0
# Its lines are asked for, and belong together: none is taken for a repetition.
DIAGNOSTICS = "worker.diagnostics"
# Above every logger of the worker.
WORKER = "worker"
# Kinds of lines that are counted at once. The kind seen longest ago is forgotten first.
KINDS_MAX = 512
# The latest warnings and errors that `/status` shows.
LATEST_MAX = 20
_ACTIONS = {event.code: event.action for event in (*PIPELINE, *KAFKA, *PROCESS) if event.action}
# The texts of aiokafka's lines about connections of its clients, up to their first value.
_OF_CONNECTIONS = (
    "Unable connect to ",
    "Unable to request metadata from ",
    "Unable to update metadata from ",
)
_ABOUT_KAFKA = frozenset(event.code for event in KAFKA) | {
    "commit_failed",
    "dead_letters_failed",
    "parking_failed",
}


class ClientConnections(logging.Filter):
    """Folds aiokafka's lines about its connections into the worker's own line about the fault.

    aiokafka writes several such lines at each attempt to connect. Every fault that lasts has a line
    of the worker: that line gets the latest text of aiokafka as `client_detail`. A text of which
    the worker takes no notice passes in the next window.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._latest: str | None = None
        self._since_seconds = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to be written."""
        if record.name == "aiokafka" and str(record.msg).startswith(_OF_CONNECTIONS):
            return self._is_due(record.getMessage())
        # A library's message may be no text, and not hashable.
        if self._latest is not None and str(record.msg) in _ABOUT_KAFKA:
            record.client_detail = self._latest
            self._latest = None
        return True

    def _is_due(self, text: str) -> bool:
        """Keep the text; return whether it has to be written itself."""
        now = self._clock()
        if self._latest is not None and now - self._since_seconds >= WINDOW_SECONDS:
            self._latest = None
            return True
        if self._latest is None:
            self._since_seconds = now
        self._latest = text
        return False


@dataclass(slots=True)
class _RepeatWindow:
    began_seconds: float
    passed: int = 0
    held_back: int = 0


class RepeatLimit(logging.Filter):
    """Lets the first lines of a kind pass in each window and counts the others.

    A kind is logger, level and message template, whatever the fields. Lines for debugging and for
    diagnosis all pass: somebody has asked for them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: OrderedDict[tuple[str, int, str], _RepeatWindow] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to be written.

        The first line of a new window gets the number of lines held back in the last window.
        """
        if record.levelno <= logging.DEBUG or record.name == DIAGNOSTICS:
            return True
        kind = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        window = self._windows.pop(kind, None)
        if window is None or now - window.began_seconds >= WINDOW_SECONDS:
            held_back = window.held_back if window is not None else 0
            window = _RepeatWindow(now)
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
    """Where lines are written. No call waits for the reader; `flush` waits for a bounded time."""

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""

    def write(self, line: str, /) -> None:
        """Write this line soon, or drop it."""

    def flush(self, seconds_max: float, /) -> bool:
        """Wait for the lines so far; returns whether all were written or dropped."""


class LogLevel:
    """The lowest level of the worker's lines: the setting's, or debug on request.

    The lines of libraries begin at info, at least, and those of aiokafka at warning: their lines
    for debugging hold requests, and so payloads and logins.
    """

    def __init__(self, setting: str) -> None:
        self._setting = setting
        self.name = setting

    def apply(self) -> None:
        """Set the level of every logger."""
        level = logging.getLevelNamesMapping()[self.name.upper()]
        logging.getLogger().setLevel(max(logging.INFO, level))
        logging.getLogger(WORKER).setLevel(level)
        # aiokafka logs each step of a rebalance at info, and each retried request at error; the
        # worker's own lines say what matters.
        logging.getLogger("aiokafka").setLevel(max(logging.WARNING, level))
        # Somebody has asked for these lines.
        logging.getLogger(DIAGNOSTICS).setLevel(logging.INFO)

    def toggle_debug(self) -> None:
        """Switch to debug, or back to the setting; to info where debug is the setting."""
        if self.name != "debug":
            self.name = "debug"
        else:
            self.name = "info" if self._setting == "debug" else self._setting
        self.apply()
        fields = {"log_level": self.name}
        logging.getLogger(DIAGNOSTICS).info("log_level_changed", extra=fields)


class RecentLogs(logging.Filter):
    """Counts lines by level, whether written or held back, and keeps the latest errors."""

    def __init__(self, redactor: Redactor, lines: Lines, level: LogLevel) -> None:
        super().__init__()
        self.level = level
        self._redactor = redactor
        self._lines = lines
        self.by_level: Counter[str] = Counter()
        self._latest: deque[str] = deque(maxlen=LATEST_MAX)

    @property
    def lines_dropped(self) -> int:
        """Lines that could not be written."""
        return self._lines.dropped

    def filter(self, record: logging.LogRecord) -> bool:
        """Count the line; returns True always."""
        self.by_level[record.levelname.lower()] += 1
        return True

    def learn_secret(self, secret: str) -> None:
        """Keep this secret out of every line from now on."""
        self._redactor.learn(secret)

    def note(self, line: str) -> None:
        """Keep the redacted JSON line of a warning or an error."""
        self._latest.append(line)

    def latest(self) -> list[dict[str, object]]:
        """Return the latest warnings and errors, the last one last, each with what to do."""
        # A copy: other threads log as well.
        return [_with_action(orjson.loads(line)) for line in tuple(self._latest)]


def _with_action(line: dict[str, object]) -> dict[str, object]:
    """Return the line with the action of its code, where a table has one."""
    action = _ACTIONS.get(str(line.get("event")))
    return line if action is None else {"action": action} | line

"""Log lines by the tables: a check of the lines that the worker writes while a test runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from tests.logs_page import SECTIONS
from worker.edges.telemetry.log_events.definition import COMMON_FIELDS, LogEvent
from worker.edges.telemetry.log_filters import DIAGNOSTICS
from worker.edges.telemetry.logs import fields_of

WORKER = Path(__file__).parents[1] / "worker"
EVENTS: dict[str, LogEvent] = {event.code: event for table in SECTIONS.values() for event in table}
# The loggers of the worker; those of tests have other names.
LOGGERS = frozenset(
    name
    for file in WORKER.rglob("*.py")
    for name in re.findall(r'getLogger\("(worker[\w.]*)"\)', file.read_text(encoding="utf-8"))
) | {DIAGNOSTICS}


def faults_of(code: str, level: str, fields: Iterable[str]) -> list[str]:
    """Return how a line differs from the tables."""
    event = EVENTS.get(code)
    if event is None:
        return [f"{code} is in no table of worker/edges/telemetry/log_events"]
    ends = tuple(name[1:] for name in event.fields if name.startswith("*"))
    unknown = [name for name in fields if name not in (*event.fields, *COMMON_FIELDS)]
    faults = [f"{code} has the field {name}" for name in unknown if not name.endswith(ends)]
    return faults if level in event.levels else [*faults, f"{code} has the level {level}"]


class LineCheck(logging.Handler):
    """Collects the faults of the worker's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Compare the line with the tables."""
        if record.name in LOGGERS:
            self.faults += faults_of(str(record.msg), record.levelname.lower(), fields_of(record))

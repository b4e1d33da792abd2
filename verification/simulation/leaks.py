"""Invariant 6: an API key is nowhere, neither in a log nor in what is written to Kafka."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from verification.simulation.violation import ViolationError
from verification.simulation.worker_life import KEY
from worker.edges.telemetry.logs import JsonFormatter
from worker.edges.telemetry.redaction import Redactor


class Leaks:
    """Owns the lines of the log that have a key in them."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def read_log(self, line: str) -> None:
        """Note a line of the worker's log if the key is in it.

        `logging` would swallow what is raised here: `check` raises it.
        """
        if KEY in line:
            self._lines.append(line)

    def check(self, *texts: str) -> None:
        """Check these texts, and the log so far."""
        leak = next((text for text in (*self._lines, *texts) if KEY in text), None)
        if leak is not None:
            raise ViolationError("6 key", leak[:300])


@contextmanager
def log_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Format every line of the worker's log as it would be written, without redaction.

    So a secret that only redaction would hide is found.
    """

    class ShowingHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            show(self.format(record))

    handler = ShowingHandler()
    handler.setFormatter(JsonFormatter(Redactor(())))
    logger = logging.getLogger("worker")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

"""The root logger, as a test may configure it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from worker.edges.telemetry.log_filters import DIAGNOSTICS, WORKER


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger; its handlers and all levels are restored afterwards."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in ("", WORKER, DIAGNOSTICS, "aiokafka")}
    yield root
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)

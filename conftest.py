"""Fixtures and bounds of all tests: one Kafka for the whole run, a time-out for each test."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.log_lines import LineCheck
from tests.record_batches import restored_decompression
from tests.searches import register_profiles
from tests.secured import Secured, secured_kafka
from worker.edges.telemetry.log_filters import DIAGNOSTICS, WORKER
from worker.sandbox.kafka import KafkaCluster

register_profiles()

# Seconds after which a test that hangs is ended, with its fixtures: ten times what it takes on a
# quiet machine, at least. The first folder that the test is in counts.
TIMEOUT_SECONDS = {
    "tests/e2e": 900.0,
    "tests/kafka": 600.0,
    "verification/cluster": 600.0,
    "verification/simulation": 600.0,
    "": 120.0,
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Take what is there before the first test out of garbage collection.

    The modules and thousands of collected tests live until the end. Each full collection would
    look through all of them again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        # What the collection of tests left unclosed is still collected, and warns.
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bound each test that states no bound of its own."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(timeout_seconds(item.path, config.rootpath)))


def timeout_seconds(test: Path, root: Path) -> float:
    """The bound of a test in this file."""
    return next(
        seconds for folder, seconds in TIMEOUT_SECONDS.items() if test.is_relative_to(root / folder)
    )


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Restore SIGINT and SIGHUP, which jobs of a shell and of `nohup` ignore.

    A process inherits what its parent ignores, and a test that interrupts one would wait in vain.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [one for one in defaults if signal.getsignal(one) is signal.SIG_IGN]
    for one in ignored:
        signal.signal(one, defaults[one])
    yield
    for one in ignored:
        signal.signal(one, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[None]:
    """Compare every line that the worker writes with the tables of `docs/logs.md`."""
    logger = logging.getLogger("worker")
    check = LineCheck()
    logger.addHandler(check)
    yield
    logger.removeHandler(check)
    assert check.faults == []


@pytest.fixture(autouse=True)
def decompression() -> Iterator[None]:
    """Restore aiokafka's decompression, whose bound holds for the whole process.

    A small bound of an earlier test would end what a later test reads with its own consumer.
    """
    with restored_decompression():
        yield


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    """Real Kafka, started once and only if a test needs it.

    AMW_TEST_BOOTSTRAP_SERVERS names a broker to use instead. Without Kafka the tests fail and say
    why: a test that is skipped proves nothing.
    """
    given = os.environ.get("AMW_TEST_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    with KafkaCluster() as kafka:
        yield kafka.bootstrap_servers


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Kafka behind logins and TLS, started only if a test asks for it."""
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture
def new_topic() -> Callable[[str], str]:
    """Names for topics and groups that no other test uses."""
    return lambda name: f"test-{name}-{secrets.token_hex(4)}"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as a test may configure it; handlers and levels are restored afterwards."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in ("", WORKER, DIAGNOSTICS, "aiokafka")}
    yield root
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)

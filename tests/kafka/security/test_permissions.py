"""A missing permission: `check-config --connect` names it, and so do the lines of a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from tests.builders import make_rejection
from tests.kafka.cli.commands import configuration
from tests.kafka.security import logins
from tests.secured import GROUP, TOPIC, Secured
from tests.source_reader import EVENT_SECONDS_MAX, SourceReader, reading, running
from worker.core.model.event import DeadLettersFailed, Event
from worker.daemon.kafka_options import kafka_connection
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.stored_records import dead_letter_writer
from worker.edges.kafka.topics import Operation
from worker.sandbox.topics import create_topics, publish
from worker.settings.load import load
from worker.settings.schema import Settings
from worker.tools.environment_check import CheckResult, check_connections

READ, WRITE, DESCRIBE = Operation.READ, Operation.WRITE, Operation.DESCRIBE
LETTERS, PARKED = ".dlq", ".parked"
Rules = dict[tuple[int, str], tuple[Operation, ...]]
# What docs/install.md asks for, by the kind of the resource and the end of its name.
ALL: Rules = {
    (TOPIC, ""): (READ, DESCRIBE),
    (TOPIC, LETTERS): (READ, WRITE, DESCRIBE),
    (TOPIC, PARKED): (READ, WRITE, DESCRIBE),
    (GROUP, ""): (READ, DESCRIBE),
}


async def grant(secured: Secured, topic: str, rules: Rules) -> None:
    """Create the topics, and let the user do this with them."""
    await create_topics(
        secured.bootstrap_servers, dict.fromkeys((topic, topic + LETTERS, topic + PARKED), 2)
    )
    for (resource, end), operations in rules.items():
        await secured.allow(resource, topic + end, *operations)


def loaded(secured: Secured, topic: str, directory: Path) -> Settings:
    """A configuration that logs in with a password."""
    document = configuration("", topic)
    document["kafka"] |= logins.login(secured, "SCRAM-SHA-512")
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return load(file, {}, None, {}).settings


def connection(secured: Secured, topic: str, directory: Path) -> KafkaConnection:
    return kafka_connection(loaded(secured, topic, directory), "test")


async def faults(secured: Secured, topic: str, directory: Path) -> dict[str, str]:
    """The faults that `check-config --connect` shows, without that of the API."""
    settings = loaded(secured, topic, directory)
    found = await check_connections(settings, kafka_connection(settings, "test"))
    return {
        check.subject: check.detail
        for check in found
        if check.result is not CheckResult.OK and not check.subject.startswith("API")
    }


async def test_what_the_page_asks_for_is_enough(
    secured: Secured, new_topic: Callable[[str], str], tmp_path: Path
) -> None:
    topic = new_topic("granted")
    await grant(secured, topic, ALL)
    assert await faults(secured, topic, tmp_path) == {}


@pytest.mark.parametrize(
    ("resource", "end", "left", "subject", "detail"),
    [
        (TOPIC, "", (DESCRIBE,), "topic {}", "2 partitions; READ is not granted"),
        (TOPIC, "", (), "topic {}", "can't be described: grant READ and DESCRIBE to the worker"),
        (
            TOPIC,
            LETTERS,
            (READ,),
            "dead-letter topic {}.dlq",
            "2 partitions; WRITE is not granted",
        ),
        (TOPIC, LETTERS, (WRITE,), "dead-letter topic {}.dlq", "2 partitions; READ is not granted"),
        (
            TOPIC,
            LETTERS,
            (),
            "dead-letter topic {}.dlq",
            "can't be described: grant WRITE, READ and DESCRIBE to the worker",
        ),
        (TOPIC, PARKED, (READ,), "parking topic {}.parked", "2 partitions; WRITE is not granted"),
        (TOPIC, PARKED, (WRITE,), "parking topic {}.parked", "2 partitions; READ is not granted"),
        (GROUP, "", (DESCRIBE,), "group {}", "the worker may join it; READ is not granted"),
        (GROUP, "", (), "group {}", "can't be described: grant READ and DESCRIBE to the worker"),
    ],
    ids=[
        "READ of the topic",
        "the topic",
        "WRITE of the dead-letter topic",
        "READ of the dead-letter topic",
        "the dead-letter topic",
        "WRITE of the parking topic",
        "READ of the parking topic",
        "READ of the group",
        "the group",
    ],
)
async def test_check_config_names_the_permission_that_is_missing(
    secured: Secured,
    new_topic: Callable[[str], str],
    tmp_path: Path,
    resource: int,
    end: str,
    left: tuple[Operation, ...],
    subject: str,
    detail: str,
) -> None:
    topic = new_topic("refused")
    await grant(secured, topic, ALL | {(resource, end): left})
    assert await faults(secured, topic, tmp_path) == {subject.format(topic): detail}


class Lines(logging.Handler):
    """The lines of the worker under one code, as they come."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self._code = code
        self.details: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._code:
            assert record.exc_info is None
            self.details.put_nowait(vars(record)["detail"])


@asynccontextmanager
async def first_line(code: str) -> AsyncIterator[asyncio.Queue[str]]:
    """Catch the lines with this code."""
    lines = Lines(code)
    logger = logging.getLogger("worker")
    logger.addHandler(lines)
    try:
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            yield lines.details
    finally:
        logger.removeHandler(lines)


@pytest.mark.parametrize(
    ("resource", "left", "code", "detail"),
    [
        (
            GROUP,
            (),
            "kafka_not_reached",
            "GroupAuthorizationFailedError: the worker's user may not use the group: grant READ "
            "and DESCRIBE on it",
        ),
        (
            TOPIC,
            (),
            "kafka_not_reached",
            "none of the topics is there; of {0}: it does not exist, or the worker's user may not "
            "describe it: create it, or grant DESCRIBE",
        ),
        (
            TOPIC,
            (DESCRIBE,),
            "poll_failed",
            "TopicAuthorizationFailedError: the worker's user lacks a permission on the topic {0}: "
            "`check-config --connect` names it",
        ),
    ],
    ids=["group", "topic", "READ of the topic"],
)
async def test_a_worker_says_what_is_missing_and_goes_on_after_the_grant(
    secured: Secured,
    new_topic: Callable[[str], str],
    tmp_path: Path,
    resource: int,
    left: tuple[Operation, ...],
    code: str,
    detail: str,
) -> None:
    topic = new_topic("worker")
    await grant(secured, topic, ALL | {(resource, ""): left})
    reader = SourceReader(connection(secured, topic, tmp_path), topic)
    async with first_line(code) as lines, reading(reader):
        assert await lines.get() == detail.format(topic)
        await secured.allow(resource, topic, *ALL[resource, ""])
        await publish(secured.bootstrap_servers, topic, [(b"key", b"value")])
        assert sum(map(len, (await reader.records(1)).values())) == 1


async def test_a_dead_letter_that_may_not_be_written_says_so(
    secured: Secured, new_topic: Callable[[str], str], tmp_path: Path
) -> None:
    topic = new_topic("letters")
    await grant(secured, topic, ALL | {(TOPIC, LETTERS): (READ,)})
    events: asyncio.Queue[Event] = asyncio.Queue()
    writer = dead_letter_writer(
        connection(secured, topic, tmp_path), {topic: topic + LETTERS}, "1", events.put_nowait
    )
    async with running(writer):
        writer.write((make_rejection(topic=topic),))
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            event = await events.get()
    assert isinstance(event, DeadLettersFailed)
    assert event.detail == (
        "TopicAuthorizationFailedError: the worker's user lacks a permission on the topic "
        f"{topic}.dlq: `check-config --connect` names it"
    )

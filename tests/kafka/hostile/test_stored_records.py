"""Topics with contents that no well-behaved program writes: every tool reads on behind them.

None ends with a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.builders import FakeRecord, make_assignment, make_value
from tests.kafka.cli.commands import Commands, configuration, lines
from tests.record_batches import GZIP, RawRecord, batch, publish_batch
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.wire.record_headers import ERRORS_PREFIX
from worker.edges.kafka.stored_records import dead_letter_headers
from worker.sandbox.topics import create_topics, started

NOT_UTF_8 = b'{"application_id": "\xff\xfe"}'
BOUND = 1_048_576
BOMB = batch([RawRecord(bytes(4 * BOUND))], GZIP)
NAMELESS = batch(
    [RawRecord(b"before"), RawRecord(b"damaged", ((b"\xff\xfe", b"x"),)), RawRecord(b"behind")]
)
# Offset 1 is the bomb, 3 the damaged record, and the one behind it in the same batch can't be
# reached either: aiokafka reads a batch from its start.
RECORDS, READABLE = 6, 4


@pytest.fixture
async def commands(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> Commands:
    """A topic and its dead-letter topic, with records, a bomb, and a header that isn't UTF-8."""
    topic = new_topic("hostile-letters")
    await create_topics(bootstrap_servers, {topic: 1, f"{topic}.dlq": 2, f"{topic}.parked": 1})
    for name in (topic, f"{topic}.dlq", f"{topic}.parked"):
        await write_record(bootstrap_servers, topic, name, NOT_UTF_8)
        await publish_batch(bootstrap_servers, name, BOMB)
        await publish_batch(bootstrap_servers, name, NAMELESS)
        await write_record(bootstrap_servers, topic, name, make_value())
    await write_record(bootstrap_servers, topic, f"{topic}.dlq", make_value(), partition=1)
    commands = Commands(
        tmp_path, configuration(bootstrap_servers, topic, parking={"enabled": False})
    )
    commands.configuration["topic"] = topic
    return commands


async def write_record(
    bootstrap_servers: str, source: str, topic: str, value: bytes, partition: int = 0
) -> None:
    rejection = Rejection(
        make_assignment(0, topic=source),
        FakeRecord(0, value),
        (FieldFault(Reason.NOT_JSON, "", "no"),),
        1,
    )
    headers = [
        *dead_letter_headers(rejection, "1"),
        ("trace", b"\xff"),
        (f"{ERRORS_PREFIX}http_status", b"9" * 5000),
    ]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    async with started(producer):
        await producer.send_and_wait(topic, value, headers=headers, partition=partition)


BOUNDED = ("--set", f"kafka.batch_bytes_max={BOUND}")


async def test_letters_before_and_behind_what_cannot_be_read_are_counted_shown_and_exported(
    commands: Commands,
) -> None:
    stats = await commands.ok("dlq", "stats", "--json", *BOUNDED)
    assert stats.document["records"] == READABLE, stats.stderr + stats.stdout
    assert stats.document["by_reason"] == {"not_json": 3, "foreign": 1}
    topic = commands.configuration["topic"]
    assert f"{topic}.dlq 0 1 is unreadable and is skipped: CorruptRecordException" in stats.stderr
    assert f"{topic}.dlq 0 3 is unreadable and is skipped: " in stats.stderr
    assert "a header's name is not UTF-8" in stats.stderr
    assert (
        len((await commands.ok("dlq", "peek", "--max", "10", "--json", *BOUNDED)).document)
        == READABLE
    )
    await commands.ok("dlq", "peek", *BOUNDED)
    for form in ("jsonl", "kcat"):
        exported = await commands.ok("dlq", "export", "--format", form, *BOUNDED)
        assert len(lines(exported.stdout)) == READABLE


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("parked", "stats"), 0),
        (("dlq", "replay", "--dry-run"), 65),
        (("dlq", "replay"), 65),
        (("rehearse", "--from", "earliest", "--seconds", "20"), 0),
        (("lag",), 0),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
async def test_no_tool_ends_with_a_fault_of_its_own(
    commands: Commands, arguments: tuple[str, ...], code: int
) -> None:
    result = await commands.run(*arguments, *BOUNDED)
    assert (result.code, "Traceback" in result.stderr) == (code, False), result


@pytest.mark.parametrize("offset", range(RECORDS))
async def test_any_record_can_be_traced(commands: Commands, offset: int) -> None:
    await commands.ok("why", commands.configuration["topic"], "0", str(offset), *BOUNDED)

"""Clients with unusable TLS files: named, logged, tried again; never the end of the process."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from tests.builders import make_rejection
from tests.certificates import make_certificates
from tests.source_reader import EVENT_SECONDS_MAX, SourceReader, running
from verification.simulation.virtual_loop import run
from worker.core.model.event import DeadLettersFailed, Event
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity, Secret, TlsNotUsableError
from worker.edges.kafka.stored_records import dead_letter_writer

NOBODY = ("127.0.0.1:1",)


class Lines(logging.Handler):
    """What is logged under one name of an event, as it comes."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self._event = event
        self.details: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._event:
            self.details.put_nowait(vars(record)["detail"])


def connection(security: KafkaSecurity) -> KafkaConnection:
    return KafkaConnection(NOBODY, "test", 9.0, security)


def test_a_file_of_no_use_is_an_error_like_brokers_that_are_away(tmp_path: Path) -> None:
    security = KafkaSecurity("SSL", ca_file=tmp_path / "ca", key_password=Secret("hidden"))
    with pytest.raises(TlsNotUsableError) as caught:
        connection(security).arguments()
    assert (
        str(caught.value)
        == f"ssl_ca_file: {tmp_path / 'ca'} can't be read: No such file or directory"
    )
    assert caught.value.retriable


def test_a_source_waits_while_a_file_is_being_replaced_and_goes_on_with_the_new_one(
    tmp_path: Path,
) -> None:
    ca = tmp_path / "ca"
    ca.write_text("being written")
    certificate = make_certificates(tmp_path).certificate.read_bytes()
    lines = Lines("kafka_not_reached")

    async def history() -> None:
        reader = SourceReader(connection(KafkaSecurity("SSL", ca_file=ca)), "topic")
        source = asyncio.create_task(reader.run())
        try:
            assert str(ca) in await lines.details.get()
            ca.write_bytes(certificate)
            while str(ca) in (detail := await lines.details.get()):
                pass
            assert "127.0.0.1" in detail
        finally:
            source.cancel()
            await asyncio.gather(source, return_exceptions=True)
            await reader.source.close()

    logger = logging.getLogger("worker.kafka")
    logger.addHandler(lines)
    try:
        run(history(), seconds_max=EVENT_SECONDS_MAX)
    finally:
        logger.removeHandler(lines)


class AlwaysTooLarge(AIOKafkaProducer):
    """A producer that reaches nobody, and finds each record too large."""

    async def start(self) -> None: ...

    async def send(self, *_: Any, **__: Any) -> asyncio.Future[Any]:
        raise MessageSizeTooLargeError


async def test_a_writer_whose_files_turn_bad_between_two_producers_says_so_and_lives() -> None:
    security = iter([KafkaSecurity(), KafkaSecurity("SSL", ca_file=Path("/no/such"))])

    class TurningBad(KafkaConnection):
        def producer(self, **options: Any) -> AIOKafkaProducer:
            return AlwaysTooLarge(**connection(next(security)).arguments(), **options)  # type: ignore[no-untyped-call]

    events: asyncio.Queue[Event] = asyncio.Queue()
    turning = TurningBad(NOBODY, "test", 9.0, KafkaSecurity())
    writer = dead_letter_writer(turning, {"source": "dlq"}, "1", events.put_nowait)
    async with running(writer):
        writer.write((make_rejection(topic="source"),))
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            event = await events.get()
    assert isinstance(event, DeadLettersFailed)
    assert "ssl_ca_file: /no/such can't be read" in event.detail


def test_no_secret_shows_in_a_connection() -> None:
    security = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "user", Secret("hidden"))
    assert "hidden" not in repr(KafkaConnection(("a:1",), "c", 1.0, security))
    assert security.arguments()["sasl_plain_password"] == "hidden"

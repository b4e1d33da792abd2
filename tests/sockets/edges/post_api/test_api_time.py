"""The API's time, by the date of its answers: over real sockets, with a batch or without."""

from __future__ import annotations

import time

import pytest

from tests.sinks import KEY, raw_server, recent, sink_to
from worker.core.model.answer import NotSent, Response
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.kafka import free_ports


async def test_an_answer_brings_the_server_s_time() -> None:
    async with (
        Emulator(EmulatorOptions(keys={1111: KEY})) as emulator,
        sink_to(emulator.base_url) as sink,
    ):
        posted, asked = await sink.post(recent()), await sink.ask_time()
    for answer in (posted, asked):
        assert isinstance(answer, Response)
        assert answer.date_unix_seconds is not None
        assert abs(answer.date_unix_seconds - time.time()) < 60
    assert [request.request_id for request in emulator.ledger.requests] == ["b-1"]


DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (DATE, 784_111_777.0),
        (b"", None),
        (b"Date: yesterday\r\n", None),
        # A cache's: it was true that long ago.
        (DATE + b"Age: 100\r\n", None),
        # Where aiohttp refuses the headers.
        (DATE + b"X: a\0b\r\n", 784_111_777.0),
    ],
)
@pytest.mark.parametrize("status", [b"200", b"503"])
async def test_a_date_is_that_of_the_header(
    headers: bytes, seconds: float | None, status: bytes
) -> None:
    reply = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n" + headers + b"\r\n"
    async with raw_server(lambda _: reply) as url, sink_to(url) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert answer.date_unix_seconds == seconds


async def test_who_asks_for_the_time_shows_no_key_and_no_event() -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        seen.append(request)
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n" + DATE + b"\r\n"

    async with raw_server(answer) as url, sink_to(url) as sink:
        read = await sink.ask_time()
    assert isinstance(read, Response)
    assert read.date_unix_seconds == 784_111_777.0
    assert seen[0].startswith(b"HEAD / HTTP/1.1\r\n")
    assert b"post_api_key" not in seen[0]


async def test_a_time_that_cannot_be_asked_for_is_no_answer() -> None:
    (port,) = free_ports(1)
    async with sink_to(f"http://127.0.0.1:{port}") as sink:
        assert isinstance(await sink.ask_time(), NotSent)

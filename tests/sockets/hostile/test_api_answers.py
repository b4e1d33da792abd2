"""Answers as no sane server gives them: each request ends, and shows the key nowhere.

A sink that waited for the end of an endless answer would hang until the test's own time-out.
A status line decides once it is complete, whatever follows; anything less is ambiguous, because the
rows may have been loaded.
"""

from __future__ import annotations

import asyncio
import logging
import time
import tracemalloc
from itertools import pairwise
from urllib.parse import quote

import pytest

from tests.builders import make_batch, make_row
from tests.sinks import (
    KEY,
    OTHER_KEY,
    Serve,
    dripping,
    impatient_sink_to,
    recent,
    recent_of_size,
    replying,
    server,
    shows_key,
    take_request,
)
from worker.core.delivery.outcome import Delivered, Held, Refused, Retry, TooLarge, classify, label
from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault
from worker.core.model.batch import Batch
from worker.edges.post_api.sink import EXCERPT_CHARACTERS_MAX

# What one answer may make this process hold at once, the server's share included.
HELD_BYTES_MAX = 4_000_000

OK = b"HTTP/1.1 200 OK\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\n"
LOST, BROKEN, TIMEOUT = (
    TransportFault.CONNECTION_LOST,
    TransportFault.BROKEN_ANSWER,
    TransportFault.TIMEOUT,
)

CASES: dict[str, tuple[Serve, int | set[TransportFault]]] = {
    "a status line that drips": (dripping(b"HTTP/1.1 200 ", b"O"), {TIMEOUT, BROKEN}),
    "headers that drip": (dripping(OK + b"X: ", b"x"), 200),
    "headers without end": (dripping(OK, b"X: y\r\n" * 50, 0.0), 200),
    "a header without end": (dripping(OK + b"X: ", b"y" * 65_536, 0.0), 200),
    "a reason without end": (dripping(b"HTTP/1.1 200 ", b"y" * 65_536, 0.0), 200),
    "interim answers without end": (
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.0),
        {TIMEOUT, BROKEN},
    ),
    "one interim answer": (
        replying(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"),
        200,
    ),
    "a 200 whose body drips": (dripping(OK + b"Content-Length: 1000000\r\n\r\n", b"x"), 200),
    "a 200 whose body has no end": (dripping(OK + b"\r\n", b"x" * 65_536, 0.0), 200),
    "a 200 whose body is cut": (
        replying(OK + b"Content-Length: 100\r\n\r\nhalf", then_closes=True),
        200,
    ),
    "a 200 whose body is longer": (
        replying(OK + b"Content-Length: 2\r\n\r\n" + b"long" * 100, then_closes=True),
        200,
    ),
    "a 200 whose chunks are broken": (
        replying(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        200,
    ),
    "a 200 whose chunks break later": (
        replying(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"", b"zz\r\n"),
        200,
    ),
    "a 200 that says gzip and isn't": (
        replying(OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
        200,
    ),
    "a 400 whose body drips": (dripping(BAD + b"Content-Length: 1000000\r\n\r\n", b"x"), 400),
    "a 400 whose body has no end": (dripping(BAD + b"\r\n", b"x" * 65_536, 0.0), 400),
    "a 400 whose body is cut": (
        replying(BAD + b"Content-Length: 100\r\n\r\nhalf", then_closes=True),
        400,
    ),
    "a length that is none": (replying(OK + b"Content-Length: ten\r\n\r\n"), 200),
    "a negative length": (replying(OK + b"Content-Length: -1\r\n\r\n"), 200),
    "two lengths": (replying(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 200),
    "a status of four digits": (replying(b"HTTP/1.1 2000 OK\r\n\r\n"), {BROKEN}),
    "a status of letters": (replying(b"HTTP/1.1 OK 200\r\n\r\n"), {BROKEN}),
    "another protocol": (replying(b"SSH-2.0-OpenSSH_9.6\r\n"), {BROKEN}),
    "noise": (replying(bytes(range(256)) * 4), {BROKEN}),
    "noise of TLS": (replying(b"\x15\x03\x01\x00\x02\x02\x16"), {BROKEN, TIMEOUT}),
    "nothing, and a close": (replying(b"", then_closes=True), {LOST}),
    "nothing at all": (replying(b""), {TIMEOUT}),
    "half a header, and a close": (replying(OK + b"Content-Le", then_closes=True), 200),
    "a NUL in a header": (replying(OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"), 200),
    # RFC 9112, 2.2: a recipient may take a line feed alone.
    "lines that end in a line feed alone": (
        replying(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        200,
    ),
}


def what_must_come_of(expected: int | set[TransportFault], answer: Answer) -> None:
    if isinstance(expected, int):
        assert isinstance(answer, Response), answer
        assert answer.status == expected
    else:
        assert isinstance(answer, Ambiguous), answer
        assert answer.fault in expected
        outcome = classify(answer, unix_seconds=0.0, retry_after_seconds_max=300.0)
        assert isinstance(outcome, Retry)
        assert label(outcome) == "ambiguous"


@pytest.mark.parametrize(("serve", "expected"), CASES.values(), ids=CASES)
async def test_no_answer_hangs_fills_memory_or_is_taken_for_another(
    serve: Serve, expected: int | set[TransportFault], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tracemalloc.start()
    try:
        async with server(serve) as url, impatient_sink_to(url) as sink:
            answer = await sink.post(recent())
        _, held_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    what_must_come_of(expected, answer)
    assert not shows_key(repr(answer) + caplog.text)
    assert held_bytes < HELD_BYTES_MAX


async def test_a_server_that_doesnt_read_is_given_up_in_time() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with server(serve) as url, impatient_sink_to(url) as sink:
        what_must_come_of({TIMEOUT}, await sink.post(recent_of_size(30_000_000)))


@pytest.mark.parametrize(
    ("reply", "fault"),
    [(b"no TLS at all\r\n", TransportFault.TLS_FAILED), (b"", TransportFault.CONNECT_TIMEOUT)],
    ids=["noise", "silence"],
)
async def test_what_doesnt_speak_tls_was_not_sent_to(reply: bytes, fault: TransportFault) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply)
        await writer.drain()
        await asyncio.Event().wait()

    async with server(serve) as url, impatient_sink_to(url.replace("http:", "https:")) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, NotSent)
    assert answer.fault is fault


@pytest.mark.parametrize(
    "is_idle", [False, True], ids=["with the first answer", "while the connection is idle"]
)
async def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_requests(
    is_idle: bool,
) -> None:
    connections = 0
    first_answered, written = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await take_request(reader)
        if connections > 1:
            await refuse(reader, writer)
        writer.write(OK + b"Content-Length: 0\r\n\r\n")
        await writer.drain()
        if is_idle:
            await first_answered.wait()
        writer.write(OK + b"Content-Length: 0\r\n\r\n")
        await writer.drain()
        written.set()
        # What comes on this connection after that is read and thrown away: its rows are nowhere.
        await reader.read()

    async with server(serve) as url, impatient_sink_to(url) as sink:
        first = await sink.post(recent())
        first_answered.set()
        await written.wait()
        # The kernel has the bytes: it hands them over, and the client reads them in its next turn.
        await asyncio.sleep(0.05)
        second = await sink.post(recent())
    assert isinstance(first, Response)
    assert first.status == 200
    assert not isinstance(second, Response) or second.status == 503


async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    await asyncio.Event().wait()


async def test_a_connection_closed_while_idle_costs_at_most_one_attempt() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(OK + b"Content-Length: 0\r\nConnection: keep-alive\r\n\r\n")
        await writer.drain()
        writer.close()

    async with server(serve) as url, impatient_sink_to(url) as sink:
        answers = [await sink.post(recent()) for _ in range(6)]
    delivered = [isinstance(answer, Response) and answer.status == 200 for answer in answers]
    assert not any(isinstance(answer, NotSent) for answer in answers)
    assert all(one or other for one, other in pairwise(delivered)), answers


async def test_a_hostile_answer_to_one_holds_up_no_other() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if OTHER_KEY.encode() in head:
            writer.write(OK + b"Content-Length: 0\r\n\r\n")
            await writer.drain()
            await asyncio.Event().wait()
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            await writer.drain()
            # The server shares the test's loop: it must not be what is starved.
            await asyncio.sleep(0.001)

    async with server(serve) as url, impatient_sink_to(url) as sink:
        hostile = [asyncio.create_task(sink.post(recent())) for _ in range(3)]
        await asyncio.sleep(0.1)
        row = make_row(0, line=f"2222,u,x,{int(time.time())}{',' * 19}\n".encode())
        neighbour = make_batch([row])
        destination = row.destination._replace(application_id=2222)
        neighbour = Batch.of(neighbour.id, destination, neighbour.header, (row,))
        answer = await sink.post(neighbour)
        assert isinstance(answer, Response)
        assert answer.status == 200
        # It came while each of the others was still waited for.
        assert not any(task.done() for task in hostile)
        for task in hostile:
            what_must_come_of({TIMEOUT, BROKEN}, await task)


@pytest.mark.parametrize(
    "form", [KEY, quote(KEY, safe=""), quote(KEY)], ids=["plain", "in a URL", "half encoded"]
)
@pytest.mark.parametrize(
    "padding", [0, EXCERPT_CHARACTERS_MAX - 5], ids=["whole", "cut in two by the excerpt's end"]
)
async def test_a_key_that_the_answer_repeats_is_not_in_the_excerpt(form: str, padding: int) -> None:
    body = ("." * padding + f"{form} is wrong").encode()
    answering = replying(BAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    async with server(answering) as url, impatient_sink_to(url) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert answer.status == 400
    assert not any(form[:length] in answer.excerpt for length in (5, len(form)))


@pytest.mark.parametrize(
    "value",
    [
        b"-1",
        b"nan",
        b"inf",
        b"1e400",
        b"9" * 5000,
        b"\xff\xfe",
        b"Thu, 99 Zzz 99999 99:99:99 GMT",
        b"0x10",
        b"",
        b"1,2",
    ],
)
async def test_no_retry_after_is_obeyed_beyond_its_bound(value: bytes) -> None:
    later = replying(
        b"HTTP/1.1 503 Later\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n"
    )
    async with server(later) as url, impatient_sink_to(url) as sink:
        answer = await sink.post(recent())
    outcome = classify(answer, unix_seconds=1_700_000_000.0, retry_after_seconds_max=300.0)
    assert isinstance(outcome, Retry)
    assert 0 <= outcome.wait_seconds_min <= 300


@pytest.mark.parametrize("status", [*range(200, 600, 7), 101, 199, 600, 999])
def test_every_status_has_an_outcome_and_only_200_is_success(status: int) -> None:
    outcome = classify(
        Response(status, None, "", 0.1), unix_seconds=0.0, retry_after_seconds_max=300.0
    )
    kinds = {200: Delivered, 400: Refused, 413: TooLarge, 420: Retry, 504: Retry}
    assert type(outcome) is kinds.get(status, Retry if 500 <= status < 600 else Held)

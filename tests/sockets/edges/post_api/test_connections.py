"""Answers before the end of the body, over real sockets: read even when the upload breaks off."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.builders import make_batch, make_row
from tests.sinks import sink_to
from worker.core.model.answer import Ambiguous, Answer, Response, TransportFault
from worker.core.model.batch import Batch
from worker.edges.post_api.answer_head import Witness
from worker.edges.post_api.connections import CHUNK_BYTES, Upload

LARGE_BYTES = 4_000_000
ATTEMPTS = 15
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
NO_LINGER = struct.pack("ii", 1, 0)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def large() -> Batch:
    return make_batch(
        [make_row(0, line=b"1111,u,%b,%d%b\n" % (b"x" * LARGE_BYTES, int(time.time()), b"," * 19))]
    )


@asynccontextmanager
async def server(serve: Serve, files: tuple[Path, Path] | None = None) -> AsyncIterator[str]:
    context = None
    if files is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield f"http{'s' if files else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def say_413_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What is unread when a socket is closed is answered with a reset."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(TOO_LARGE)
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()


async def say_200_and_read_no_more(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    await writer.drain()
    writer.close()


async def answers_of(
    serve: Serve, files: tuple[Path, Path] | None = None, attempts: int = ATTEMPTS
) -> list[Answer]:
    async with server(serve, files) as url, sink_to(url) as sink:
        return [await sink.post(large()) for _ in range(attempts)]


async def test_a_413_is_read_though_the_connection_is_reset_behind_it() -> None:
    answers = await answers_of(say_413_and_close)
    assert [answer.status if isinstance(answer, Response) else answer for answer in answers] == [
        413
    ] * ATTEMPTS


async def test_with_tls_a_413_is_read_or_the_body_counts_as_cut_off(
    certificate: tuple[Path, Path],
) -> None:
    answers = await answers_of(say_413_and_close, certificate)
    for answer in answers:
        assert isinstance(answer, Response | Ambiguous)
        assert (answer.status if isinstance(answer, Response) else answer.fault) in (
            413,
            TransportFault.UPLOAD_RESET,
        )


async def test_a_reset_without_an_answer_says_that_the_body_was_on_its_way() -> None:
    for answer in await answers_of(reset):
        assert isinstance(answer, Ambiguous)
        assert answer.fault is TransportFault.UPLOAD_RESET


async def test_a_200_that_comes_before_the_body_is_sent_delivers_nothing() -> None:
    (answer,) = await answers_of(say_200_and_read_no_more, attempts=1)
    assert isinstance(answer, Ambiguous)
    assert answer.fault is TransportFault.EARLY_ANSWER


class Silent(asyncio.Protocol):
    """What is behind the witness here: it only waits for the end."""

    def __init__(self) -> None:
        self.received = b""
        self.is_over = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over.set_result(exc)


async def test_what_lies_in_the_system_s_buffer_is_read_when_a_write_has_failed() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport, protocol = await loop.create_connection(Silent, *listening.getsockname())
        witness = Witness(transport, protocol)
        transport.set_protocol(witness)
        accepted, _ = listening.accept()
        # Nothing turns the loop from here to the failed write: so its reader can't have been there
        # first.
        transport.write(b"POST / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
        accepted.recv(1000)
        accepted.sendall(TOO_LARGE)
        accepted.close()
        transport.write(b"x" * 100_000)
        error = await protocol.is_over
    assert isinstance(error, OSError)
    assert (witness.head.status, protocol.received) == (413, TOO_LARGE)


async def test_what_has_come_is_read_before_the_next_chunk_is_handed_over() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    received: list[bytes] = []
    with ours, theirs:
        loop.add_reader(ours, lambda: received.append(ours.recv(100)))
        upload = Upload(b"x" * 3 * CHUNK_BYTES)
        lengths: list[int] = []
        async for chunk in upload:
            assert received == [b"no"] * len(lengths)
            assert not upload.is_handed_over
            lengths.append(len(chunk))
            theirs.sendall(b"no")
        loop.remove_reader(ours)
    assert upload.is_handed_over
    assert lengths == [CHUNK_BYTES] * 3

"""Connections are reused, whenever the body of an answer ends: a handshake is expensive."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.sinks import KEY, recent, sink_to
from worker.core.model.answer import Response
from worker.edges.post_api.sink import BODY_READ_BYTES_MAX

REQUESTS = 12
# So often the loop that both sides share turns between the headers and the body: a client that
# doesn't wait is long gone.
TURNS_BETWEEN = 50


@asynccontextmanager
async def server(
    body: bytes, files: tuple[Path, Path] | None
) -> AsyncIterator[tuple[str, list[int]]]:
    """A server whose bodies follow its headers.

    The list has a number for each connection: its requests.
    """
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = len(connections)
        connections.append(0)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                connections[mine] += 1
                length = next(
                    line
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                )
                await reader.readexactly(int(length.split(b":")[1]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                await writer.drain()
                for _ in range(TURNS_BETWEEN):
                    await asyncio.sleep(0)
                writer.write(body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    context = None
    if files is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        scheme = "http" if context is None else "https"
        yield f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}", connections


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
async def test_a_connection_is_used_again_though_the_body_comes_after_the_headers(
    is_tls: bool, certificate: tuple[Path, Path]
) -> None:
    async with (
        server(b"OK", certificate if is_tls else None) as (url, connections),
        sink_to(url) as sink,
    ):
        answers = [await sink.post(recent()) for _ in range(REQUESTS)]
    assert [answer.status for answer in answers if isinstance(answer, Response)] == [200] * REQUESTS
    assert connections == [REQUESTS]


async def test_a_body_beyond_the_bound_is_not_read_to_its_end() -> None:
    async with (
        server(b"x" * 8 * BODY_READ_BYTES_MAX, None) as (url, connections),
        sink_to(url) as sink,
    ):
        answers = [await sink.post(recent()) for _ in range(2)]
    assert all(isinstance(answer, Response) and answer.status == 200 for answer in answers)
    assert connections == [1, 1]
    assert KEY not in repr(answers)

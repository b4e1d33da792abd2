"""Hostile clients of the admin port, slow, idle, many or malformed: liveness still answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from worker.edges.telemetry.admin_listener import CONNECTIONS_MAX
from worker.edges.telemetry.admin_server import AdminServer

HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@asynccontextmanager
async def client(
    server: AdminServer,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def assert_alive(server: AdminServer) -> None:
    """A plain probe is answered; one that isn't hangs until the test's time-out."""
    async with client(server) as (reader, writer):
        writer.write(HEAD + b"Connection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def first_line(server: AdminServer, request: bytes, seconds_max: float = 5.0) -> bytes:
    """What it answers first; empty where it closes without a word."""
    async with client(server) as (reader, writer):
        writer.write(request)
        async with asyncio.timeout(seconds_max):
            try:
                return await reader.readline()
            except ConnectionError:
                return b""


BAD: dict[str, tuple[bytes, tuple[bytes, ...]]] = {
    "an unknown path": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", (b"404",)),
    "a path of noise": (b"GET /%00%ff%zz/\xd1\x8f HTTP/1.1\r\nHost: x\r\n\r\n", (b"404", b"400")),
    "a whole URL": (
        b"GET http://elsewhere/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        (b"200", b"404", b"400"),
    ),
    "another method": (b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", (b"405",)),
    "no method": (b"FROBNICATE /livez HTTP/1.1\r\nHost: x\r\n\r\n", (b"405", b"400", b"501")),
    "a connection to elsewhere": (
        b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        (b"404", b"405", b"400"),
    ),
    "an upgrade": (
        HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        (b"200", b"400", b"426"),
    ),
    "a URL of a megabyte": (
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        (b"400", b"414", b""),
    ),
    "a header of a megabyte": (
        HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n",
        (b"400", b"431", b""),
    ),
    "ten thousand headers": (HEAD + b"X: y\r\n" * 10_000 + b"\r\n", (b"400", b"431", b"200", b"")),
    "a body of ten megabytes": (
        HEAD + b"Content-Length: 10000000\r\n\r\n" + b"x" * 10_000_000,
        (b"200", b"413", b"400", b""),
    ),
    "a body that never comes": (
        HEAD + b"Content-Length: 10000000\r\n\r\n",
        (b"200", b"413", b"400"),
    ),
    "a length that is none": (HEAD + b"Content-Length: x\r\n\r\n", (b"400",)),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", (b"400",)),
    "broken chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", (b"400", b"200")),
    "noise": (bytes(range(256)) * 10, (b"400", b"")),
    "TLS": (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n",
        (b"400", b""),
    ),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (b"400", b"505", b"404", b"405", b"")),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", (b"200", b"400", b"")),
}


@pytest.mark.parametrize(("sent", "statuses"), BAD.values(), ids=BAD)
async def test_nonsense_is_refused_and_harms_nobody(
    server: AdminServer, sent: bytes, statuses: tuple[bytes, ...]
) -> None:
    line = await first_line(server, sent)
    assert (line.split(b" ")[1] if line else b"") in statuses
    await assert_alive(server)


async def test_slow_and_idle_clients_are_closed_after_a_while(server: AdminServer) -> None:
    async with client(server) as (reader, writer):
        writer.write(b"GET /livez HT")
        async with asyncio.timeout(15.0):
            assert await reader.read() == b""


async def test_a_thousand_idle_connections_leave_liveness_its_place(server: AdminServer) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(1000)]
    try:
        await assert_alive(server)
        # The probe has waited for no other to be closed for its age.
        assert CONNECTIONS_MAX // 2 < server.connections <= CONNECTIONS_MAX
    finally:
        for _, writer in idle:
            writer.transport.abort()


async def test_a_page_that_is_read_byte_by_byte_holds_up_nobody(server: AdminServer) -> None:
    async with client(server) as (reader, writer):
        writer.write(HEAD.replace(b"/livez", b"/metrics") + b"\r\n")
        for _ in range(20):
            await reader.readexactly(1)
            await assert_alive(server)


async def test_of_piped_requests_the_first_is_answered_and_ends_the_connection(
    server: AdminServer,
) -> None:
    async with client(server) as (reader, writer):
        writer.write((HEAD + b"\r\n") * 200 + b"garbage\r\n\r\n" + (HEAD + b"\r\n") * 200)
        answers = b""
        async with asyncio.timeout(5.0):
            # The end may be a reset: most of the request is never read.
            with suppress(ConnectionError):
                while part := await reader.read(65_536):
                    answers += part
    assert answers.count(b"HTTP/1.1 200") == 1
    await assert_alive(server)

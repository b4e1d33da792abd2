"""The disturbances of the proxies, and what they see pass: with real sockets."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from verification.chaos.protocols import OFFSET_COMMIT, PRODUCE, ApiProxy, KafkaProxy
from verification.chaos.proxy import Proxy, Streams
from verification.chaos.traps import Point, Traps

SOON = 2.0
REQUEST = b"POST /logs HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n\r\n"


def frame(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def kafka_request(kind: int, client_id: bytes, correlation: int = 7) -> bytes:
    return frame(struct.pack(">hhih", kind, 1, correlation, len(client_id)) + client_id + b"rest")


@asynccontextmanager
async def echoing(proxy: Proxy, answer: bytes) -> AsyncIterator[Streams]:
    """A server with this answer to everything, and a client that reaches it through the proxy."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.upstream_port = server.sockets[0].getsockname()[1]
    await proxy.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await proxy.close()
        server.close()


async def ask(client: Streams, request: bytes) -> bytes:
    client[1].write(request)
    async with asyncio.timeout(SOON):
        return await client[0].read(65536)


async def test_without_disturbance_everything_passes() -> None:
    proxy = ApiProxy(Traps(), "one")
    async with echoing(proxy, ANSWER) as client:
        assert await ask(client, REQUEST) == ANSWER
    assert proxy.answers_withheld == 0


async def test_a_reset_is_felt_as_one() -> None:
    proxy = ApiProxy(Traps(), "one")
    async with echoing(proxy, ANSWER) as client:
        await ask(client, REQUEST)
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            await ask(client, REQUEST)


async def test_a_half_open_connection_stays_silent_and_open() -> None:
    proxy = ApiProxy(Traps(), "one")
    async with echoing(proxy, ANSWER) as client:
        await ask(client, REQUEST)
        proxy.half_close_all()
        client[1].write(REQUEST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client[0].read(1)


async def test_a_black_hole_swallows_until_it_lets_go() -> None:
    proxy = ApiProxy(Traps(), "one")
    async with echoing(proxy, ANSWER) as client:
        proxy.swallow()
        client[1].write(REQUEST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client[0].read(1)
        proxy.flow()
        async with asyncio.timeout(SOON):
            assert await client[0].read(65536) == ANSWER


async def test_a_truncated_answer_breaks_off_in_the_middle_and_counts_as_withheld() -> None:
    proxy = ApiProxy(Traps(), "one")
    async with echoing(proxy, ANSWER) as client:
        proxy.truncate(1)
        assert await ask(client, REQUEST) == ANSWER[: len(ANSWER) // 2]
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(SOON):
                await client[0].read(1)
    assert proxy.answers_withheld == 1


async def test_a_shut_proxy_refuses_and_listens_again_at_the_same_port() -> None:
    proxy = ApiProxy(Traps(), "one")
    async with echoing(proxy, ANSWER):
        proxy.shut()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.open()
        client = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(client, REQUEST) == ANSWER
        client[1].transport.abort()


async def test_a_trap_springs_where_a_commit_passes_and_only_on_whom_it_concerns() -> None:
    traps = Traps()
    proxy = KafkaProxy(traps)
    answer = frame(struct.pack(">i", 7) + b"taken")
    async with echoing(proxy, answer) as client:
        sprung = traps.arm(Point.COMMIT_ANSWERED, lambda owner: owner == "appmetrica-worker-2")
        assert await ask(client, kafka_request(OFFSET_COMMIT, b"appmetrica-worker-1")) == answer
        with pytest.raises(ConnectionResetError):
            await ask(client, kafka_request(OFFSET_COMMIT, b"appmetrica-worker-2"))
        assert await sprung == "appmetrica-worker-2"


async def test_withheld_kinds_get_no_answer_while_others_do() -> None:
    proxy = KafkaProxy(Traps())
    answer = frame(struct.pack(">i", 8) + b"taken")
    async with echoing(proxy, answer) as client:
        proxy.withheld_kinds.add(PRODUCE)
        client[1].write(kafka_request(PRODUCE, b"one", correlation=7))
        assert await ask(client, kafka_request(OFFSET_COMMIT, b"one", correlation=8)) == answer

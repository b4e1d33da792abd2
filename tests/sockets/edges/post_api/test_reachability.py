"""Whether the API can be reached: any answer counts, and no answer has a reason."""

from __future__ import annotations

import asyncio

import pytest

from tests.sinks import raw_server
from worker.edges.post_api.reachability import NotReached, Reached, probe
from worker.sandbox.kafka import free_ports


@pytest.mark.parametrize("status", [200, 302, 404, 503])
async def test_any_answer_shows_that_the_api_is_reached(status: int) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b"HTTP/1.1 %d Any\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n" % status

    async with raw_server(answer) as url:
        reached = await probe(url, 5.0, trusts_environment=False)
    assert isinstance(reached, Reached)
    assert (reached.status, reached.seconds >= 0, len(asked)) == (status, True, 1)
    assert asked[0].startswith(b"HEAD / HTTP/1.1\r\n")


async def test_an_address_where_nothing_listens_is_not_reached() -> None:
    (port,) = free_ports(1)
    answer = await probe(f"http://127.0.0.1:{port}", 5.0, trusts_environment=False)
    assert isinstance(answer, NotReached)
    assert "ClientConnectorError" in answer.detail


async def test_a_server_that_is_silent_is_not_reached_in_time() -> None:
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await probe(f"http://127.0.0.1:{port}", 0.1, trusts_environment=False)
        assert answer == NotReached("no answer within 0.1 s")
        for writer in silent:
            writer.close()

"""Proxies that refuse a tunnel, over real sockets: for any answer, nothing reached the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.sinks import KEY, recent, sink_to
from worker.core.delivery.outcome import Held, Outcome, Retry, RetryKind, classify
from worker.core.model.answer import NotSent, TransportFault

API = "https://api.invalid"


@asynccontextmanager
async def proxy(reply: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that answers each request with this, and closes; what it was asked is in the list."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", asked


def replying(status: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno"


PROXIES: dict[str, tuple[bytes, NotSent, Outcome]] = {
    "502": (
        replying(b"502 Bad Gateway"),
        NotSent(TransportFault.PROXY_REFUSED, 0.0, 502),
        Retry("proxy_502", 0.0, RetryKind.NOT_SENT),
    ),
    "407": (
        replying(b"407 Who are you"),
        NotSent(TransportFault.PROXY_REFUSED, 0.0, 407),
        Held("proxy_407"),
    ),
    "a status without a reason": (
        replying(b"403"),
        NotSent(TransportFault.PROXY_REFUSED, 0.0, 403),
        Held("proxy_403"),
    ),
    "noise": (
        b"\x15\x03\x01\x00\x02\x02\x16\r\n",
        NotSent(TransportFault.CONNECT_FAILED, 0.0),
        Retry("connect_failed", 0.0, RetryKind.NOT_SENT),
    ),
    "nothing": (
        b"",
        NotSent(TransportFault.CONNECT_FAILED, 0.0),
        Retry("connect_failed", 0.0, RetryKind.NOT_SENT),
    ),
    "a header beyond all bounds": (
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        NotSent(TransportFault.CONNECT_FAILED, 0.0),
        Retry("connect_failed", 0.0, RetryKind.NOT_SENT),
    ),
}


@pytest.mark.parametrize(("reply", "expected", "outcome"), PROXIES.values(), ids=PROXIES)
async def test_what_a_proxy_refuses_was_not_sent(
    reply: bytes, expected: NotSent, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy(reply) as (url, asked):
        monkeypatch.setenv("https_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        async with sink_to(API, trusts_environment=True) as sink:
            answer = await sink.post(recent())
    assert isinstance(answer, NotSent)
    assert (answer.fault, answer.proxy_status) == (expected.fault, expected.proxy_status)
    assert classify(answer, unix_seconds=0.0, retry_after_seconds_max=300.0) == outcome
    assert [request.split(b" ")[:2] for request in asked] == [[b"CONNECT", b"api.invalid:443"]]
    assert KEY.encode() not in asked[0]

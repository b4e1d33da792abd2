"""The API's certificate and name are verified, with the system's or a private authority."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.certificates import make_certificates
from tests.sinks import recent, sink_to
from worker.core.model.answer import Answer, NotSent, Response, TransportFault
from worker.edges.post_api.reachability import NotReached, Reached, probe
from worker.errors import UnavailableError


@asynccontextmanager
async def api(certificate: Path, key: Path) -> AsyncIterator[tuple[int, list[bytes]]]:
    """An API with this certificate; what it was sent is in the list."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client doesn't trust it.
            pass
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1], asked


async def post(url: str, ca_file: Path | None) -> Answer:
    async with sink_to(url, ca_file=ca_file) as sink:
        return await sink.post(recent())


async def test_a_private_authority_is_trusted_alone(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    other = make_certificates(tmp_path).certificate
    async with api(*certificate) as (port, asked):
        url = f"https://127.0.0.1:{port}"
        assert isinstance(await post(url, certificate[0]), Response)
        # The system's authorities, to which the certificate belongs in these tests, don't count.
        answer = await post(url, other)
        assert isinstance(answer, NotSent)
        assert answer.fault is TransportFault.TLS_FAILED
        assert len(asked) == 1
        found = [
            await probe(url, 5.0, trusts_environment=False, ca_file=ca_file)
            for ca_file in (certificate[0], other)
        ]
    assert [type(one) for one in found] == [Reached, NotReached]


async def test_a_certificate_of_nobody_is_refused(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    async with api(made.certificate, made.key) as (port, asked):
        answer = await post(f"https://127.0.0.1:{port}", None)
    assert isinstance(answer, NotSent)
    assert (answer.fault, asked) == (TransportFault.TLS_FAILED, [])


async def test_a_certificate_of_another_host_is_refused(certificate: tuple[Path, Path]) -> None:
    async with api(*certificate) as (port, asked):
        answer = await post(f"https://localhost:{port}", certificate[0])
    assert isinstance(answer, NotSent)
    assert (answer.fault, asked) == (TransportFault.TLS_FAILED, [])


async def test_an_authority_that_is_gone_ends_the_start_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"appmetrica\.ssl_ca_file: .*can't be read"):
        await post("https://127.0.0.1:1", tmp_path / "nothing")

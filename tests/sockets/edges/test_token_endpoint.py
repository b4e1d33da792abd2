"""A token endpoint: what it is asked, and what is said where it gives no token."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import encode_basic_auth, web

from worker.edges.kafka.token_sources import TokenEndpoint
from worker.edges.kafka.tokens import TokenNotObtainedError
from worker.sandbox.kafka import free_ports

SECRET = "hidden & secret"


@asynccontextmanager
async def answering(
    answer: web.Response, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server that gives this answer, and the requests that it has got."""
    asked: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        await request.post()
        asked.append(request)
        return answer

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        scheme = "http" if context is None else "https"
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/token", asked
    finally:
        await runner.cleanup()


async def test_it_is_asked_as_the_standard_says() -> None:
    answer = web.json_response({"access_token": "a-token", "expires_in": 100})
    async with answering(answer) as (url, asked):
        token = await TokenEndpoint(url, "an id", SECRET, "kafka read").fetch()
        (request,) = asked
        assert dict(await request.post()) == {
            "grant_type": "client_credentials",
            "scope": "kafka read",
        }
        assert request.headers["Authorization"] == encode_basic_auth("an+id", "hidden+%26+secret")
    assert (token.text, token.reuse_seconds) == ("a-token", 80.0)


async def test_a_lifetime_may_be_written_as_text() -> None:
    answer = web.json_response({"access_token": "a-token", "expires_in": "100"})
    async with answering(answer) as (url, _):
        token = await TokenEndpoint(url, "an id", SECRET).fetch()
    assert (token.text, token.reuse_seconds) == ("a-token", 80.0)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (
            web.json_response({"error": "invalid_client"}, status=401),
            "answers HTTP 401 (invalid_client): correct sasl_oauth.client_id, client_secret",
        ),
        (
            web.json_response({"error": "\n hidden"}, status=400),
            "answers HTTP 400: correct sasl_oauth.client_id",
        ),
        (
            web.Response(status=302, headers={"Location": "/other"}),
            "answers HTTP 302: set the address of the token endpoint",
        ),
        (web.Response(status=503, text="<html>"), "answers HTTP 503: the next connection tries"),
        (web.Response(text="<html>"), "answers without access_token"),
        (web.json_response({"access_token": 1}), "answers without access_token"),
        (web.json_response([]), "answers without access_token"),
        (web.Response(body=b"{" * 9_000_000), "answers without access_token"),
    ],
    ids=["client", "no code", "redirect", "down", "page", "number", "list", "flood"],
)
async def test_no_token_is_an_error_of_one_line(answer: web.Response, fault: str) -> None:
    async with answering(answer) as (url, asked):
        with pytest.raises(TokenNotObtainedError) as caught:
            await TokenEndpoint(url, "me", SECRET).fetch()
    assert str(caught.value).startswith(f"sasl_oauth.token_endpoint {url} {fault}")
    assert "hidden" not in str(caught.value) and "\n" not in str(caught.value)
    assert len(asked) == 1


async def test_a_token_that_would_break_the_login_is_none() -> None:
    async with answering(web.json_response({"access_token": "a\x01b"})) as (url, _):
        with pytest.raises(TokenNotObtainedError, match="holds text that is no token"):
            await TokenEndpoint(url, "me", SECRET).fetch()


async def test_an_endpoint_that_is_not_there_is_named() -> None:
    (free,) = free_ports(1)
    with pytest.raises(TokenNotObtainedError, match="can't be asked: ClientConnectorError"):
        await TokenEndpoint(f"http://127.0.0.1:{free}/", "me", SECRET).fetch()


async def test_its_certificate_is_checked(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    async with answering(web.json_response({"access_token": "a"}), context) as (url, asked):
        with pytest.raises(TokenNotObtainedError, match=r"correct sasl_oauth\.ssl_ca_file"):
            await TokenEndpoint(url, "me", SECRET).fetch()
        assert asked == []
        assert (await TokenEndpoint(url, "me", SECRET, ca_file=chain).fetch()).text == "a"
        with pytest.raises(TokenNotObtainedError, match=r"sasl_oauth\.ssl_ca_file: .* is empty"):
            empty = tmp_path / "empty"
            empty.touch()
            await TokenEndpoint(url, "me", SECRET, ca_file=empty).fetch()

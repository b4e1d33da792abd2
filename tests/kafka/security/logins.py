"""Every way to log in, as the settings of the section `kafka`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import encode_basic_auth, web

from tests.secured import NAME, PASSWORD, USER, Secured, unsigned_token

CLIENT, CLIENT_SECRET = "a client", "a client's secret & more"
Settings = dict[str, Any]


def tls(secured: Secured) -> Settings:
    """TLS without a login."""
    return {
        "bootstrap_servers": f"{NAME}:{secured.tls}",
        "security_protocol": "SSL",
        "ssl_ca_file": str(secured.ca_file),
    }


def mutual(secured: Secured, name: str = USER) -> Settings:
    """TLS with a client certificate."""
    certificate, key = secured.client_files(name)
    return {
        **tls(secured),
        "bootstrap_servers": f"{NAME}:{secured.mutual}",
        "ssl_certificate_file": str(certificate),
        "ssl_key_file": str(key),
    }


def login(secured: Secured, mechanism: str, password: str = PASSWORD) -> Settings:
    """TLS with a name and a password."""
    return {
        **tls(secured),
        "bootstrap_servers": f"{NAME}:{secured.tls_login}",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_username": USER,
        "sasl_password": password,
    }


def token(secured: Secured, **oauth: Any) -> Settings:
    """TLS with a token."""
    return {
        **tls(secured),
        "bootstrap_servers": f"{NAME}:{secured.tls_login}",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauth": oauth,
    }


def token_file(directory: Path, text: str) -> str:
    """A file of a token."""
    file = directory / "token"
    file.write_text(f"{text}\n")
    return str(file)


def token_command(text: str) -> list[str]:
    """A program that writes a token."""
    return [sys.executable, "-c", "import sys; print(sys.argv[1])", text]


def client(token_endpoint: str, secret: str = CLIENT_SECRET) -> Settings:
    """The settings of a token endpoint."""
    return {
        "token_endpoint": token_endpoint,
        "client_id": CLIENT,
        "client_secret": secret,
        "scope": "kafka",
    }


@asynccontextmanager
async def token_endpoint() -> AsyncIterator[str]:
    """An authorization server that knows the client."""

    async def answer(request: web.Request) -> web.Response:
        form = await request.post()
        expected = encode_basic_auth("a+client", "a+client%27s+secret+%26+more")
        if request.headers.get("Authorization") != expected:
            return web.json_response({"error": "invalid_client"}, status=401)
        assert dict(form) == {"grant_type": "client_credentials", "scope": "kafka"}
        return web.json_response({"access_token": unsigned_token(), "expires_in": 300})

    application = web.Application()
    application.router.add_post("/token", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/token"
    finally:
        await runner.cleanup()

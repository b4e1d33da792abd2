"""Connections that report the refusal of a token, and that end with a cancelled bootstrap.

A broker answers a token that it refuses with an error text, without an error code. The client has
to acknowledge it, and then gets the error. aiokafka takes the text for success: the connection is
closed at its first request, for no reason that anybody could see. Source: RFC 7628, section 3.2.3.

A client that is cancelled while it bootstraps forgets the connection that it asks: nothing but
garbage collection would close it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import client as aiokafka_client
from aiokafka.conn import AIOKafkaConnection, BaseSaslAuthenticator, OAuthAuthenticator

_ACKNOWLEDGED = b"\x01"
FAREWELL_SECONDS_MAX = 0.5


class Connection(AIOKafkaConnection):
    """A connection that gets the error where a token is refused, and ends with its failed login."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await super().connect()  # type: ignore[no-untyped-call, no-any-return]
        except BaseException:
            await self._farewell()
            raise

    async def _farewell(self) -> None:
        """Wait for the end of a TLS connection, which nobody else knows of.

        A client that stops while it logs in would leave it open behind the event loop.
        """
        if self._protocol is None or self._ssl_context is None:
            return
        closed: asyncio.Future[None] = self.close()  # type: ignore[no-untyped-call]
        await asyncio.wait([closed], timeout=FAREWELL_SECONDS_MAX)

    def authenticator_oauth(self) -> BaseSaslAuthenticator:
        return _Authenticator(super().authenticator_oauth())  # type: ignore[no-untyped-call]


class _Authenticator(BaseSaslAuthenticator):
    def __init__(self, own: OAuthAuthenticator) -> None:
        self._own = own

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        return (_ACKNOWLEDGED, True) if payload else await self._own.step(payload)


class _BootstrapConnection(Connection):
    """A connection that is closed when a request on it is cancelled."""

    async def send(self, request: Any, expect_response: bool = True) -> Any:
        try:
            return await super().send(request, expect_response)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            self.close()  # type: ignore[no-untyped-call]
            raise


def close_cancelled_bootstraps() -> None:
    """Let every client of this process close its bootstrap connection when it is cancelled."""
    aiokafka_client.create_conn = _create_conn  # type: ignore[attr-defined]


async def _create_conn(host: str, port: int, **options: Any) -> AIOKafkaConnection:
    """As aiokafka's own; a bootstrap is known by the callback that it lacks."""
    is_bootstrap = "on_close" not in options
    connection_class = _BootstrapConnection if is_bootstrap else Connection
    connection: AIOKafkaConnection = connection_class(host, port, **options)  # type: ignore[no-untyped-call]
    await connection.connect()
    return connection

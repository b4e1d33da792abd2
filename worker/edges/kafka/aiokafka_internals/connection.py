"""Connections whose faults are known: aiokafka misses the refusal of a token.

A broker answers a token that it refuses with an error text, without an error code. The client has
to acknowledge it, and then gets the error. aiokafka takes the text for success: the connection is
closed at its first request, for no reason that anybody could see. Source: RFC 7628, section 3.2.3.
"""

from __future__ import annotations

import asyncio

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

"""Connections whose faults are known: aiokafka misses the refusal of a token.

A broker answers a token that it refuses with an error text, without an error code. The client has
to acknowledge it, and then gets the error. aiokafka takes the text for success: the connection is
closed at its first request, for no reason that anybody could see. Source: RFC 7628, section 3.2.3.
"""

from __future__ import annotations

from aiokafka.conn import AIOKafkaConnection, BaseSaslAuthenticator, OAuthAuthenticator

_ACKNOWLEDGED = b"\x01"


class Connection(AIOKafkaConnection):
    """A connection of aiokafka that gets the error where a token is refused."""

    def authenticator_oauth(self) -> BaseSaslAuthenticator:
        return _Authenticator(super().authenticator_oauth())  # type: ignore[no-untyped-call]


class _Authenticator(BaseSaslAuthenticator):
    def __init__(self, own: OAuthAuthenticator) -> None:
        self._own = own

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        return (_ACKNOWLEDGED, True) if payload else await self._own.step(payload)

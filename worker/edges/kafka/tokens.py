"""Tokens for the SASL mechanism OAUTHBEARER, and what gives them to the Kafka client.

All clients of a process share a provider. A token is used again for four fifths of its lifetime, or
for a minute where its lifetime is unknown; a token that a broker refuses is not used again. No
message and no `repr` contains a token.

Sources: RFC 6750 (characters of a token), RFC 7519 (`exp`).
"""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from time import time
from typing import Protocol

import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

FETCH_SECONDS_MAX = 10.0
TOKEN_BYTES_MAX = 64 * 1024
REUSE_SECONDS = 60.0
REUSED_SHARE = 0.8
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class TokenNotObtainedError(KafkaError):
    """There is no token now. Try again, as for brokers."""

    retriable = True

    def __str__(self) -> str:
        return RuntimeError.__str__(self)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and for how long it may be used for further connections."""

    text: str = field(repr=False)
    reuse_seconds: float


class TokenSource(Protocol):
    """Where tokens come from. Its text names the setting."""

    def __str__(self) -> str: ...

    async def fetch(self) -> Token:
        """Get a token. Raises `TokenNotObtainedError`."""


class TokenProvider(AbstractTokenProvider):
    """Gives aiokafka the token for each connection.

    Args:
        source: where tokens come from.
    """

    def __init__(self, source: TokenSource) -> None:
        self.source = source
        self._token: Token | None = None
        self._reused_until = 0.0
        self._fetching = asyncio.Lock()

    async def token(self) -> str:
        """Return a token, the same for all connections of the same time.

        Raises:
            TokenNotObtainedError: there is none.
        """
        async with self._fetching:
            now = asyncio.get_running_loop().time()
            if self._token is None or now >= self._reused_until:
                self._token = await self._fetched()
                self._reused_until = now + self._token.reuse_seconds
            return self._token.text

    def note_refusal(self) -> None:
        """Use another token for the next connection: a broker has refused this one."""
        self._reused_until = 0.0

    def expired_seconds_ago(self) -> float | None:
        """Return how long ago the latest token expired, by the local clock; None: it has not."""
        expiry = _expiry_of(self._token.text) if self._token is not None else None
        return None if expiry is None or expiry > time() else time() - expiry

    async def _fetched(self) -> Token:
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                return await self.source.fetch()
        except TimeoutError:
            raise TokenNotObtainedError(
                f"{self.source} gives no token within {FETCH_SECONDS_MAX:g} s"
            ) from None


def token_in(data: bytes, what: str) -> str:
    """Return the token that these bytes hold, without white space around it.

    Raises:
        TokenNotObtainedError: they are no token; `what` begins the message.
    """
    if len(data) > TOKEN_BYTES_MAX:
        raise TokenNotObtainedError(f"{what} more than {TOKEN_BYTES_MAX:,} bytes: no token")
    text = data.decode(errors="replace").strip()
    if not text:
        raise TokenNotObtainedError(f"{what} nothing instead of a token")
    if _TOKEN.fullmatch(text) is None:
        raise TokenNotObtainedError(
            f"{what} text that is no token: it must be the token alone, without white space and "
            "quotes"
        )
    return text


def _expiry_of(token: str) -> float | None:
    """Return when a JSON Web Token expires, in Unix seconds; None where it doesn't say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    padded = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        return msgspec.json.decode(urlsafe_b64decode(padded), type=_Claims).exp
    except (ValueError, msgspec.DecodeError):
        return None


class _Claims(msgspec.Struct):
    exp: float | None = None


def reuse_seconds(token: str, lifetime_seconds: float | None = None) -> float:
    """Return for how long a new token may be reused; a given lifetime beats its own."""
    if lifetime_seconds is None and (expiry := _expiry_of(token)) is not None:
        lifetime_seconds = expiry - time()
    return REUSE_SECONDS if lifetime_seconds is None else lifetime_seconds * REUSED_SHARE

"""Tokens for the SASL mechanism OAUTHBEARER: from a file, a token endpoint, or a command.

All clients of a process share a provider. A token is used again for four fifths of its lifetime, or
for a minute where its lifetime is unknown; a token that a broker refuses is not used again. A file
is read for each connection. No message and no `repr` contains a token.

Sources: RFC 6749 (section 4.4: client credentials, 2.3.1: their form), RFC 6750 (characters of a
token), RFC 7519 (`exp`).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Protocol
from urllib.parse import quote_plus

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from worker.edges.telemetry.redaction import printable
from worker.tls_files import TlsFiles, TlsFilesError, tls_context

FETCH_SECONDS_MAX = 10.0
TOKEN_BYTES_MAX = 64 * 1024
# The first line of a command's standard error says enough.
COMPLAINT_CHARACTERS_MAX = 200
REUSE_SECONDS = 60.0
REUSED_SHARE = 0.8
_READ_BYTES = 16 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


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
        """How long ago the latest token expired, by the local clock; None: it has not."""
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


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file that another program keeps fresh."""

    path: Path

    def __str__(self) -> str:
        return f"sasl_oauth.token_file {self.path}"

    async def fetch(self) -> Token:
        """Read the file."""
        try:
            # A pipe without a writer would stop the process.
            if self.path.exists() and not self.path.is_file():
                raise TokenNotObtainedError(f"{self} is not a file: set the path of the file")
            with self.path.open("rb") as file:
                data = file.read(TOKEN_BYTES_MAX + 1)
        except OSError as error:
            raise TokenNotObtainedError(f"{self} can't be read: {error.strerror}") from None
        # Another program may replace it at any time.
        return Token(_token_in(data, f"{self} holds"), reuse_seconds=0.0)


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """An authorization server that gives tokens for a client's id and secret.

    `ca_file` None: the certificates of the system are trusted.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    ca_file: Path | None = None

    def __str__(self) -> str:
        return f"sasl_oauth.token_endpoint {self.url}"

    async def fetch(self) -> Token:
        """Ask the server. Redirects are not followed: they would get the secret."""
        form = {"grant_type": "client_credentials"}
        if self.scope is not None:
            form["scope"] = self.scope
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=tls_context(TlsFiles(self.ca_file))),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers={"Authorization": self._credentials(), "Accept": "application/json"},
                ) as session,
                session.post(self.url, data=form, allow_redirects=False) as response,
            ):
                body = await _beginning(response.content)
                return self._token(response.status, body)
        except TlsFilesError as error:
            raise TokenNotObtainedError(f"sasl_oauth.{error.setting}: {error}") from None
        except aiohttp.ClientConnectorCertificateError as error:
            why = error.certificate_error
            raise TokenNotObtainedError(
                f"{self}: its certificate isn't trusted ({printable(str(why))}): correct "
                "sasl_oauth.ssl_ca_file"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            # An answer's own text may be in some of these errors.
            what = f"{type(error).__name__}: {printable(str(error))[:COMPLAINT_CHARACTERS_MAX]}"
            raise TokenNotObtainedError(f"{self} can't be asked: {what}") from None

    def _credentials(self) -> str:
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        return f"Basic {b64encode(pair.encode()).decode()}"

    def _token(self, status: int, body: bytes) -> Token:
        try:
            answer = msgspec.json.decode(body, type=_EndpointAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = _EndpointAnswer()
        if status != 200:
            known = answer.error is not None and _ERROR_CODE.fullmatch(answer.error) is not None
            code = f" ({answer.error})" if known else ""
            raise TokenNotObtainedError(f"{self} answers HTTP {status}{code}: {_advice(status)}")
        if answer.access_token is None:
            raise TokenNotObtainedError(
                f"{self} answers without access_token: set the address of the token endpoint"
            )
        text = _token_in(answer.access_token.encode(), f"the answer of {self} holds")
        return Token(text, reuse_seconds(text, answer.expires_in))


class _EndpointAnswer(msgspec.Struct):
    access_token: str | None = None
    expires_in: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TokenCommand:
    """A program that writes a token to its standard output.

    `environment` is all that the program gets; it has no secret of the worker.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"sasl_oauth.token_command {self.command[0]}"

    async def fetch(self) -> Token:
        """Run the program, without a shell."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # A group of its own, so that whatever it starts ends with it.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise TokenNotObtainedError(f"{self} can't be run: {why}") from None
        try:
            data, complaint, code = await asyncio.gather(
                _beginning(_pipe(process.stdout)), _beginning(_pipe(process.stderr)), process.wait()
            )
        except BaseException:
            # It took too long, or nobody waits for the token any more.
            await _kill(process)
            raise
        if code:
            raise TokenNotObtainedError(f"{self} ends with {code}{_first_line(complaint)}")
        text = _token_in(data, f"{self} writes")
        return Token(text, reuse_seconds(text))


def _pipe(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if stream is None:
        raise AssertionError("the program was started with pipes")
    return stream


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the program and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _beginning(stream: asyncio.StreamReader | aiohttp.StreamReader) -> bytes:
    """Read to the end, and return no more than shows whether there is too much."""
    kept = bytearray()
    while data := await stream.read(_READ_BYTES):
        kept += data[: TOKEN_BYTES_MAX + 1 - len(kept)]
    return bytes(kept)


def _token_in(data: bytes, what: str) -> str:
    """The token that these bytes are, beside white space around it."""
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
    """When a JSON Web Token expires, in Unix seconds; None: it doesn't say, or is another token."""
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
    """For how long a new token may be used again. A lifetime that is given beats its own."""
    if lifetime_seconds is None and (expiry := _expiry_of(token)) is not None:
        lifetime_seconds = expiry - time()
    return REUSE_SECONDS if lifetime_seconds is None else lifetime_seconds * REUSED_SHARE


def _first_line(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").split("\n")
    line = next((text.strip() for text in lines if text.strip()), "")
    return f": {printable(line[:COMPLAINT_CHARACTERS_MAX])}" if line else ""


def _advice(status: int) -> str:
    if status in (400, 401, 403):
        return "correct sasl_oauth.client_id, client_secret or scope"
    if status >= 500 or status == 429:
        return "the next connection tries again"
    return "set the address of the token endpoint"

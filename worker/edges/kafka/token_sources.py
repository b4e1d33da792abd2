"""Where tokens come from: a file, a token endpoint, or a command.

Sources: RFC 6749 (section 4.4: client credentials, 2.3.1: their form).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus

import aiohttp
import msgspec

from worker.edges.kafka.tokens import (
    TOKEN_BYTES_MAX,
    Token,
    TokenNotObtainedError,
    reuse_seconds,
    token_in,
)
from worker.edges.telemetry.redaction import printable
from worker.tls_files import TlsFiles, TlsFilesError, tls_context

# The first line of a command's standard error says enough.
COMPLAINT_CHARACTERS_MAX = 200
_READ_BYTES = 16 * 1024
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file that another program keeps fresh."""

    path: Path

    def __str__(self) -> str:
        return f"sasl_oauth.token_file {self.path}"

    async def fetch(self) -> Token:
        """Read the file, in a thread: a file system that hangs must not block the loop."""
        try:
            data = await asyncio.to_thread(self._beginning)
        except OSError as error:
            raise TokenNotObtainedError(f"{self} can't be read: {error.strerror}") from None
        # Another program may replace it at any time.
        return Token(token_in(data, f"{self} holds"), reuse_seconds=0.0)

    def _beginning(self) -> bytes:
        # A pipe without a writer would keep the thread for ever.
        if self.path.exists() and not self.path.is_file():
            raise TokenNotObtainedError(f"{self} is not a file: set the path of the file")
        with self.path.open("rb") as file:
            return file.read(TOKEN_BYTES_MAX + 1)


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
            # Some servers write the number of `expires_in` as text.
            answer = msgspec.json.decode(body, type=_EndpointAnswer, strict=False)
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
        text = token_in(answer.access_token.encode(), f"the answer of {self} holds")
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
        text = token_in(data, f"{self} writes")
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

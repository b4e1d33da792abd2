"""Asks workers for `/status`, as the command `top` shows it.

No answer can be trusted: a port may belong to another program, and a worker may be older. So an
answer is bounded, every value is read with its type, and a value of another type counts as absent.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from worker.tls_files import TlsFiles, tls_context

# A worker answers in milliseconds; a slower answer would not be current.
ANSWER_SECONDS_MAX = 3.0
# Some 20,000 partitions.
ANSWER_BYTES_MAX = 16 * 1024 * 1024
PORT = 9090
_HOST = re.compile(r"[0-9A-Za-z._:%~-]+")


@dataclass(frozen=True, slots=True)
class WorkerAnswer:
    """What a worker answered.

    Attributes:
        address: of the admin port, as people write it.
        status: the document of `/status`; None without one.
        error: why there is no document; empty with one.
    """

    address: str
    status: Mapping[str, Any] | None
    error: str = ""


def admin_url(text: str) -> URL:
    """Return the URL of an admin port: `host`, `host:port`, or a URL, with or without `/status`.

    Raises:
        ValueError: the text is none of these.
    """
    try:
        url = URL(text if "://" in text else f"http://{text}")
        is_address = url.scheme in ("http", "https") and bool(_HOST.fullmatch(url.raw_host or ""))
    except ValueError:
        is_address, url = False, URL()
    if not is_address:
        raise ValueError(f"{text!r} is no address of an admin port: write HOST:PORT or a URL")
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError(
            "the address of an admin port can't hold a user or a password: pass its token by "
            "--token-file"
        )
    if "://" not in text and url.explicit_port is None:
        url = url.with_port(PORT)
    if url.name == "status":
        url = url.parent
    return url.with_query(None).with_fragment(None)


@dataclass(frozen=True, slots=True)
class Access:
    """How workers are asked.

    Attributes:
        token: of their admin ports; None: none. `repr` doesn't show it.
        ca_file: whose certificates are trusted; None: those of the system.
        server_name: the name in their certificates; None: the host of each URL.
    """

    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    server_name: str | None = None

    def session(self) -> aiohttp.ClientSession:
        """Open a session, for one event loop.

        Raises:
            TlsFilesError: `ca_file` can't be used.
        """
        verifying = True if self.ca_file is None else tls_context(TlsFiles(self.ca_file))
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=verifying), headers=headers)


async def ask_all(
    session: aiohttp.ClientSession, urls: Iterable[URL], server_name: str | None = None
) -> list[WorkerAnswer]:
    """Ask every worker at once; the answers are in the order of the URLs."""
    return list(await asyncio.gather(*(_ask(session, url, server_name) for url in urls)))


async def _ask(session: aiohttp.ClientSession, url: URL, server_name: str | None) -> WorkerAnswer:
    address = url.authority if url.path in ("", "/") else f"{url.authority}{url.path}"
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            async with session.get(
                url / "status", allow_redirects=False, server_hostname=server_name
            ) as response:
                body = await _body(response)
    except TimeoutError:
        return WorkerAnswer(address, None, f"no answer in {ANSWER_SECONDS_MAX:.0f} s")
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or "it can't be verified"
        return WorkerAnswer(address, None, f"its certificate is not trusted: {reason}")
    except aiohttp.ClientConnectorError as error:
        code = error.os_error.errno
        return WorkerAnswer(address, None, os.strerror(code) if code else "can't be reached")
    except (aiohttp.ClientError, OSError) as error:
        return WorkerAnswer(address, None, f"broken answer: {type(error).__name__}")
    if response.status != 200:
        return WorkerAnswer(address, None, _refusal(response.status, body))
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or "partitions" not in status:
        return WorkerAnswer(address, None, "no worker: its /status is another document")
    return WorkerAnswer(address, status)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body up to its bound; a longer body is cut, and then is not JSON."""
    parts: list[bytes] = []
    left = ANSWER_BYTES_MAX
    async for part in response.content.iter_chunked(64 * 1024):
        parts.append(part[:left])
        left -= len(part)
        if left <= 0:
            break
    return b"".join(parts)


def _refusal(status: int, body: bytes) -> str:
    text = body[:200].decode(errors="replace").strip() if status in (401, 421) else ""
    return f"it answers {status}" + (f": {text}" if text else "")


# --- values of a document, by their type ----------------------------------------------------------


def number(document: Mapping[str, Any], *path: str) -> float | None:
    """Return the number at this path; None where there is none."""
    value = _at(document, path)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def text(document: Mapping[str, Any], *path: str) -> str:
    """Return the text at this path; empty where there is none."""
    value = _at(document, path)
    return value if isinstance(value, str) else ""


def objects(document: Mapping[str, Any], *path: str) -> list[Mapping[str, Any]]:
    """Return the objects of the list at this path; none where there is no list."""
    value = _at(document, path)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def members(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Return the object at this path; an empty one where there is none."""
    value = _at(document, path)
    return value if isinstance(value, dict) else {}


def _at(document: Mapping[str, Any], path: Iterable[str]) -> object:
    value: object = document
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value

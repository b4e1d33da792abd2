"""The way to the API: which certificates are trusted, which proxies are used, who answers."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.request import getproxies_environment

import aiohttp
from yarl import URL

from worker.errors import UnavailableError
from worker.tls_files import TlsFiles, TlsFilesError, tls_context


@dataclass(frozen=True, slots=True)
class Reached:
    """A server has answered, with any status: only a request with an event would show more."""

    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NotReached:
    """No server has answered. `detail` says why."""

    detail: str


async def probe(
    base_url: str,
    timeout_seconds: float,
    *,
    trusts_environment: bool,
    ca_file: Path | None = None,
) -> Reached | NotReached:
    """Send a HEAD request for the address itself, without a key; redirects are not followed."""
    clock = asyncio.get_running_loop().time
    started = clock()
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=verifying(ca_file)),
                timeout=timeout,
                trust_env=trusts_environment,
            ) as session,
            session.head(base_url, allow_redirects=False) as response,
        ):
            return Reached(response.status, clock() - started)
    except TimeoutError:
        return NotReached(f"no answer within {timeout_seconds:g} s")
    except aiohttp.ClientHttpProxyError as error:
        # Its text would hold the proxy's address, with user and password.
        return NotReached(f"the proxy answers {error.status}: see its user, password and rules")
    except (aiohttp.ClientError, OSError) as error:
        return NotReached(f"{type(error).__name__}: {error}")


def verifying(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return what aiohttp verifies servers with: their certificate and their name, always.

    Args:
        ca_file: whose certificates are trusted; None: those of the system.

    Raises:
        UnavailableError: the file can't be used.
    """
    if ca_file is None:
        return True
    try:
        return tls_context(TlsFiles(ca_file))
    except TlsFilesError as error:
        raise UnavailableError(f"appmetrica.{error.setting}: {error}") from None


def proxy_passwords() -> list[str]:
    """Return the passwords in the proxies' addresses of the environment, to be masked."""
    found: list[str] = []
    for address in getproxies_environment().values():
        try:
            password = URL(address).password
        except ValueError:
            # No address: requests fail, and show nothing of it.
            continue
        if password:
            found.append(password)
    return found

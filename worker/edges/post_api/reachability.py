"""Asks whether the API can be reached, without a key and without an event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from worker.edges.post_api.connections import verifying


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
    """Send a HEAD request for the address itself; redirects are not followed."""
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

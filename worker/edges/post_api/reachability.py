"""Asks whether the API can be reached, without a key and without an event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp


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
    base_url: str, timeout_seconds: float, *, trusts_environment: bool
) -> Reached | NotReached:
    """Send a HEAD request for the address itself; redirects are not followed."""
    clock = asyncio.get_running_loop().time
    started = clock()
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=trusts_environment) as session,
            session.head(base_url, allow_redirects=False) as response,
        ):
            return Reached(response.status, clock() - started)
    except TimeoutError:
        return NotReached(f"no answer within {timeout_seconds:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return NotReached(f"{type(error).__name__}: {error}")

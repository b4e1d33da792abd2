"""Asks whether the API can be reached, without a key and without an event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True)
class Reached:
    """Something has answered, whatever it said: only a request with an event would tell more."""

    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NotReached:
    """Nothing has answered. `detail` says why."""

    detail: str


async def probe(
    base_url: str, timeout_seconds: float, *, trusts_environment: bool
) -> Reached | NotReached:
    """Ask for the address itself; redirects are not followed."""
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

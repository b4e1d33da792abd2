"""An emulator of two applications, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.sockets.sandbox.posting import KEY
from worker.sandbox.emulator.server import Emulator, EmulatorOptions


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    options = EmulatorOptions(
        keys={1111: KEY, 2222: "other"},
        body_bytes_max=4096,
        refused={"event_name": frozenset({"forbidden"})},
    )
    async with Emulator(options) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(emulator.base_url) as client:
        yield client

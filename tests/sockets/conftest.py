"""An admin server of a worker that has something to show."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.readings import make_answers
from worker.edges.telemetry.admin_listener import Address
from worker.edges.telemetry.admin_server import AdminServer


@pytest.fixture(name="server")
async def admin_server() -> AsyncIterator[AdminServer]:
    server = AdminServer(Address("127.0.0.1", 0), make_answers())
    await server.start()
    yield server
    await server.stop()

"""Sinks and servers for the tests of the Post API's edge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.builders import make_batch, make_row
from worker.core.model.batch import Batch, RequestForm
from worker.edges.post_api.sink import HttpSink, SinkOptions

KEY = "the/key+of=1111"


@asynccontextmanager
async def sink_to(
    base_url: str,
    *,
    total_seconds: float = 5.0,
    connect_seconds: float = 2.0,
    form: RequestForm = RequestForm.BODY,
    trusts_environment: bool = False,
) -> AsyncIterator[HttpSink]:
    """An open sink that posts to this address with `KEY`."""
    options = SinkOptions(
        base_url=base_url,
        requests_in_flight_max=4,
        connect_timeout_seconds=connect_seconds,
        read_timeout_seconds=total_seconds,
        total_timeout_seconds=total_seconds,
        trusts_environment=trusts_environment,
        user_agent="test",
        form=form,
    )
    async with HttpSink(options, {1111: KEY}.__getitem__) as sink:
        yield sink


def recent(count: int = 1) -> Batch:
    """A batch whose events the API accepts today."""
    return make_batch(
        [make_row(offset, event_timestamp=int(time.time())) for offset in range(count)],
        batch_id="b-1",
    )


@asynccontextmanager
async def raw_server(answer: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """A server that reads what comes first and answers with these bytes, whatever they are."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await reader.read(65536)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

"""A sink for tests, batches to post, and servers that answer with any bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tests.builders import make_batch, make_row
from worker.core.model.batch import Batch, RequestForm
from worker.edges.post_api.sink import HttpSink, SinkOptions

KEY = "the/key+of=1111"
OTHER_KEY = "key-of-the-neighbour"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def sink_to(
    base_url: str,
    *,
    total_seconds: float = 5.0,
    connect_seconds: float = 2.0,
    form: RequestForm = RequestForm.BODY,
    trusts_environment: bool = False,
    ca_file: Path | None = None,
) -> AsyncIterator[HttpSink]:
    """A sink with the keys of applications 1111 and 2222."""
    options = SinkOptions(
        base_url=base_url,
        requests_in_flight_max=4,
        connect_timeout_seconds=connect_seconds,
        read_timeout_seconds=total_seconds,
        total_timeout_seconds=total_seconds,
        trusts_environment=trusts_environment,
        user_agent="test",
        form=form,
        ca_file=ca_file,
    )
    async with HttpSink(options, {1111: KEY, 2222: OTHER_KEY}.__getitem__) as sink:
        yield sink


# For servers that let a request wait for its end.
impatient_sink_to = partial(sink_to, total_seconds=1.0, connect_seconds=1.0)


def recent(rows: int = 1) -> Batch:
    """A batch of rows that happened a moment ago."""
    return make_batch(
        [make_row(offset, event_timestamp=int(time.time())) for offset in range(rows)],
        batch_id="b-1",
    )


def recent_of_size(line_bytes: int) -> Batch:
    """A batch of one row, longer than this."""
    line = f"1111,u,{'x' * line_bytes},{int(time.time())}{',' * 19}\n".encode()
    return make_batch([make_row(0, line=line)])


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


async def take_request(reader: asyncio.StreamReader) -> None:
    """Read one request to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    await reader.readexactly(length)


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    """A server that does with each connection as it likes."""
    tasks: set[asyncio.Task[None]] = set()

    async def until_done(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client has had enough.
            pass
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(until_done(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def replying(*parts: bytes, then_closes: bool = False) -> Serve:
    """Read the request, say these, and close or wait for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
            # A packet of its own.
            await asyncio.sleep(0.02)
        if not then_closes:
            await asyncio.Event().wait()
        writer.close()
        await writer.wait_closed()

    return serve


def dripping(before: bytes, drop: bytes, seconds: float = 0.02) -> Serve:
    """Read the request, say the first at once, and the second over and over, never done."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(before)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(seconds)

    return serve


def shows_key(text: str) -> bool:
    """True if the key of application 1111, or a part of it, is in the text."""
    return any(form in text for form in (KEY, quote(KEY, safe=""), quote(KEY), KEY.split("=")[0]))

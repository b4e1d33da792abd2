"""A TCP proxy that disturbs: latency, resets, black holes, half-open connections, cut answers.

It needs to recognise requests and answers as they pass; a subclass per protocol does that.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from worker.sandbox.kafka import free_ports

CHUNK_BYTES = 64 * 1024
# Closing with this option sends a reset instead of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connection:
    """A client's connection, in both directions."""

    def __init__(self, client: Streams, upstream: Streams) -> None:
        self.client = client
        self.upstream = upstream
        self.owner = ""
        # Requests that were forwarded and have no answer yet.
        self.awaited: dict[int, int] = {}
        self.is_silent = False

    def reset(self) -> None:
        """End it at once, with a reset to both sides."""
        for _, writer in (self.client, self.upstream):
            _reset(writer)

    def half_close(self) -> None:
        """End it towards the server, without a sign to the client."""
        self.is_silent = True
        _reset(self.upstream[1])


class Proxy:
    """Listens on a fixed port of its own, and forwards to `upstream_port` once that is set."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_flowing = asyncio.Event()
        self._is_flowing.set()
        self._truncations = 0
        self.latency_seconds = 0.0
        self.upstream_port = 0
        self.port = free_ports(1)[0]
        self.answers_withheld = 0

    async def open(self) -> None:
        """Listen, the first time and after `shut`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def shut(self) -> None:
        """Refuse connections, and reset those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset_all()

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        self.shut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- disturbances ---------------------------------------------------------------------------

    def reset_all(self) -> None:
        """Reset every connection."""
        for connection in list(self._connections):
            connection.reset()

    def half_close_all(self) -> None:
        """Break every connection without a sign to the clients."""
        for connection in list(self._connections):
            connection.half_close()

    def swallow(self) -> None:
        """Drop everything in both directions, without a sign, until `flow`."""
        self._is_flowing.clear()

    def flow(self) -> None:
        """End `swallow`: bytes that were held up pass late."""
        self._is_flowing.set()

    def truncate(self, count: int) -> None:
        """Cut the next answers in the middle."""
        self._truncations += count

    # --- conversations ----------------------------------------------------------------------------

    async def forward_requests(self, connection: Connection) -> None:
        """Forward the client's bytes until their end. A protocol inspects them here."""
        raise NotImplementedError

    async def forward_answers(self, connection: Connection) -> None:
        """Forward the server's bytes until their end."""
        raise NotImplementedError

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Forward bytes with the disturbances of the moment."""
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        await self._is_flowing.wait()
        writer.write(data)
        await writer.drain()

    async def send_answer(self, connection: Connection, data: bytes) -> None:
        """Forward an answer; it may be cut in the middle.

        Raises:
            ConnectionError: the answer was cut.
        """
        if self._truncations:
            self._truncations -= 1
            await self.send(connection.client[1], data[: len(data) // 2])
            raise ConnectionResetError("truncated")
        await self.send(connection.client[1], data)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(
            self._converse((reader, writer)), name="conversation"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, client: Streams) -> None:
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            _reset(client[1])
            return
        connection = Connection(client, upstream)
        self._connections.add(connection)
        ways = [
            asyncio.ensure_future(way(connection))
            for way in (self.forward_requests, self.forward_answers)
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await _end(ways)
            if connection.is_silent:
                await _listen_in_vain(client[0])
        finally:
            self._connections.discard(connection)
            self.answers_withheld += len(connection.awaited)
            await _end(ways)
            connection.reset()


async def _end(ways: Sequence[asyncio.Future[None]]) -> None:
    """End both directions, and ignore their errors: either side may end a connection."""
    for way in ways:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)


async def _listen_in_vain(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(CHUNK_BYTES):
            pass


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()

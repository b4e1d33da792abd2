"""The wire between a client and the model: Kafka's frames in and out, and who sends a request."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka.errors import BrokerResponseError, NoError
from aiokafka.protocol.api import RequestHeader_v1, Response

SIZE_FORMAT = ">i"
SIZE_BYTES = 4


@dataclass(frozen=True, slots=True)
class Caller:
    """The client that sends a request, and the error that the request must meet, if any."""

    client_id: str
    error: type[BrokerResponseError] | None

    def code(self, otherwise: type[Any] = NoError) -> int:
        """The code of the requested error, else of the other error."""
        return (self.error or otherwise).errno


Handler = Callable[[Any, Caller], Awaitable[Response]]


class Connection(asyncio.Transport):
    """The client's transport, and the broker's end of the same connection."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        assert isinstance(protocol, asyncio.Protocol | asyncio.StreamReaderProtocol)
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._frames: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._is_closed = False
        self.server: asyncio.Task[None] | None = None
        self.is_membership = False

    # --- the client's end -------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Called by the client's stream writer."""
        if self._is_closed:
            return
        self._buffer += data
        while len(self._buffer) >= SIZE_BYTES:
            (size,) = struct.unpack_from(SIZE_FORMAT, self._buffer)
            if len(self._buffer) < SIZE_BYTES + size:
                return
            self._frames.append(bytes(self._buffer[SIZE_BYTES : SIZE_BYTES + size]))
            del self._buffer[: SIZE_BYTES + size]
            self._arrived.set()

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Called by the client."""
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _end(self, reason: Exception | None) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.call_soon(self._protocol.connection_lost, reason)
        if self.server is not None:
            self.server.cancel()

    # --- the broker's end -------------------------------------------------------------------------

    async def receive(self) -> tuple[Any, BytesIO]:
        """The header of the next request, and its body."""
        while not self._frames:
            self._arrived.clear()
            await self._arrived.wait()
        frame = BytesIO(self._frames.popleft())
        # The header's constructor needs a request; so its fields are decoded one by one.
        api_key, version, correlation_id, client_id = (
            field.decode(frame) for field in RequestHeader_v1.SCHEMA.fields
        )
        return (api_key, version, correlation_id, client_id), frame

    def answer(self, correlation_id: int, response: Response) -> None:
        """Send an answer; nothing happens if the client has gone."""
        if not self._is_closed:
            body = struct.pack(SIZE_FORMAT, correlation_id) + response.encode()
            self._protocol.data_received(struct.pack(SIZE_FORMAT, len(body)) + body)

    def cut(self) -> None:
        """Break the connection."""
        self._end(ConnectionResetError("the broker has closed the connection"))

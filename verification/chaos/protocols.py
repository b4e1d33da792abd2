"""The proxies' knowledge of the two protocols: requests, their senders, and their answers."""

from __future__ import annotations

import struct

from verification.chaos.proxy import CHUNK_BYTES, Connection, Proxy
from verification.chaos.traps import Point, Traps

PRODUCE, FETCH, OFFSET_COMMIT, OFFSET_FETCH, JOIN_GROUP, HEARTBEAT, SYNC_GROUP = (
    0,
    1,
    8,
    9,
    11,
    12,
    14,
)
# Source: the Kafka protocol guide, request header v1 and later: key, version, correlation id,
# client id.
_HEADER = struct.Struct(">hhih")

_ASKED = {
    PRODUCE: Point.DEAD_LETTER_ASKED,
    OFFSET_COMMIT: Point.COMMIT_ASKED,
    OFFSET_FETCH: Point.OFFSETS_ASKED,
    JOIN_GROUP: Point.JOIN_ASKED,
    HEARTBEAT: Point.HEARTBEAT_ASKED,
}
_ANSWERED = {
    PRODUCE: Point.DEAD_LETTER_ANSWERED,
    FETCH: Point.FETCH_ANSWERED,
    OFFSET_COMMIT: Point.COMMIT_ANSWERED,
    JOIN_GROUP: Point.JOIN_ANSWERED,
    SYNC_GROUP: Point.SYNC_ANSWERED,
}


class KafkaProxy(Proxy):
    """A proxy before a broker: it identifies the owner of a connection by the client id."""

    def __init__(self, traps: Traps) -> None:
        super().__init__()
        self._traps = traps
        # The API keys of requests that are held up.
        self.withheld_kinds: set[int] = set()

    async def forward_requests(self, connection: Connection) -> None:
        """Frame by frame."""
        reader, _ = connection.client
        while True:
            size = await reader.readexactly(4)
            frame = await reader.readexactly(int.from_bytes(size, "big"))
            kind, _version, correlation, length = _HEADER.unpack_from(frame)
            connection.owner = frame[_HEADER.size : _HEADER.size + max(0, length)].decode()
            if kind in self.withheld_kinds:
                continue
            if kind in _ASKED and self._traps.spring(_ASKED[kind], connection.owner):
                return
            connection.awaited[correlation] = kind
            await self.send(connection.upstream[1], size + frame)

    async def forward_answers(self, connection: Connection) -> None:
        """Frame by frame."""
        reader, _ = connection.upstream
        while True:
            size = await reader.readexactly(4)
            frame = await reader.readexactly(int.from_bytes(size, "big"))
            kind = connection.awaited.pop(int.from_bytes(frame[:4], "big"), -1)
            if kind in _ANSWERED and self._traps.spring(_ANSWERED[kind], connection.owner):
                return
            await self.send_answer(connection, size + frame)


class ApiProxy(Proxy):
    """A proxy before the API for each worker: it identifies the sender of a request."""

    def __init__(self, traps: Traps, owner: str) -> None:
        super().__init__()
        self._traps = traps
        self._owner = owner

    async def forward_requests(self, connection: Connection) -> None:
        """Forward requests. A connection carries one at a time, so each begins with a chunk."""
        while chunk := await connection.client[0].read(CHUNK_BYTES):
            if chunk.startswith(b"POST ") and self._traps.spring(Point.REQUEST_ASKED, self._owner):
                return
            await self.send(connection.upstream[1], chunk)
            connection.awaited[0] = 0

    async def forward_answers(self, connection: Connection) -> None:
        """Forward answers. The emulator writes each answer in one piece."""
        while chunk := await connection.upstream[0].read(CHUNK_BYTES):
            if chunk.startswith(b"HTTP/1.1 200") and self._traps.spring(
                Point.REQUEST_ANSWERED, self._owner
            ):
                return
            await self.send_answer(connection, chunk)
            connection.awaited.clear()

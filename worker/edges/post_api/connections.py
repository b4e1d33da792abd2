"""The connections to the API: quiet ones only, each with a reader of its own at its start."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from worker.edges.post_api.answer_head import AnswerHead

LEFT_BYTES_MAX = 64 * 1024


class Witness(asyncio.Protocol):
    """Stands between a connection and aiohttp: passes everything on, and reads the start of each
    answer for itself.
    """

    def __init__(self, transport: asyncio.Transport, aiohttps: asyncio.Protocol) -> None:
        self._transport = transport
        self._aiohttps = aiohttps
        self.head = AnswerHead()

    @property
    def has_unsent(self) -> bool:
        """True while bytes wait here to be sent."""
        return self._transport.get_write_buffer_size() > 0

    def begin(self) -> None:
        """The next request starts: what comes from now on is its answer."""
        self.head = AnswerHead()

    def data_received(self, data: bytes) -> None:
        """Something has come. An answer that never gets to its body ends its connection."""
        self.head.feed(data)
        if self.head.is_too_large:
            self._transport.abort()
        else:
            self._aiohttps.data_received(data)

    def eof_received(self) -> bool | None:
        """The server says no more."""
        return self._aiohttps.eof_received()

    def pause_writing(self) -> None:
        """Enough is waiting to be sent."""
        self._aiohttps.pause_writing()

    def resume_writing(self) -> None:
        """More may be sent."""
        self._aiohttps.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        if exc is not None and self.head.status is None:
            self._read_what_is_left()
        self._aiohttps.connection_lost(exc)

    def _read_what_is_left(self) -> None:
        """Read what the system's buffer holds: asyncio stops reading when a write fails, and an
        early answer may be there.

        With TLS the connection's end takes the keys with it; what is left then stays unread.
        """
        ours = self._transport.get_extra_info("socket")
        if ours is None or self._transport.get_extra_info("ssl_object") is not None:
            return
        try:
            with ours.dup() as copy:
                left = copy.recv(LEFT_BYTES_MAX)
        except OSError:
            # Nothing is left, or only the reset itself.
            return
        if left:
            self.data_received(left)


class QuietConnector(aiohttp.TCPConnector):
    """Gives no connection on which something has come already: it would be taken for the answer to
    the next request.

    A server or something in between may answer twice, or say on an idle connection that it has had
    enough of it. Were that a 200, the rows of the next request would count as loaded, and aiohttp
    looks at a connection only when it is put back.
    """

    def __init__(self, *, limit: int, keepalive_timeout: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout)
        self._witnesses: WeakKeyDictionary[ClientRequest, Witness] = WeakKeyDictionary()

    def witness_of(self, request: ClientRequest) -> Witness | None:
        """Who reads the answer to this request.

        None: the request never had a connection, so nothing of it was sent.
        """
        return self._witnesses.get(request)

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A connection on which nothing has come.

        Raises:
            aiohttp.ClientConnectionError: the server speaks first, on new connections too.
        """
        # All that wait idle, and a new one.
        for _ in range(self.limit + 1):
            connection = await super().connect(req, traces, timeout)
            witness = _witness(connection)
            if witness is not None:
                self._witnesses[req] = witness
                return connection
            connection.close()
        raise aiohttp.ClientConnectionError("the server sends data before it gets a request")


def _witness(connection: Connection) -> Witness | None:
    """Who reads the answer that comes next on this connection; None where something has come
    already.
    """
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        return None
    witness = transport.get_protocol()
    if isinstance(witness, Witness):
        witness.begin()
        return witness
    witness = Witness(transport, protocol)
    transport.set_protocol(witness)
    return witness

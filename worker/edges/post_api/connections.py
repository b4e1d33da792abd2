"""A request on its connection: which connection is used, and how the body is sent.

A server that finds a body too large answers at its start, and may close at once. The next write
then fails, and with it asyncio stops reading. So a large body is sent in chunks, and the loop turns
between two of them: an answer that has come is read before anything more is written.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from worker.edges.post_api.answer_head import AnswerHead, Witness

# A smaller body is sent at once. At full speed the loop turns once for each chunk of records, so
# the 2 MB of a full batch in pieces of 64 KiB would wait for 64 of these.
CHUNK_BYTES = 256 * 1024
# In the first turn the loop looks at its sockets, in the second their readers have run.
TURNS_TO_READ = 2


class QuietConnector(aiohttp.TCPConnector):
    """Gives no connection on which data has come before the request.

    Such data would be taken for the answer to the next request. A server or a proxy may answer
    twice, or announce on an idle connection that it closes it. If that were a 200, the rows of the
    next request would count as loaded, and aiohttp only checks a connection when it is put back.
    """

    def __init__(
        self, *, limit: int, keepalive_timeout: float, verifying: ssl.SSLContext | bool = True
    ) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout, ssl=verifying)
        self._witnesses: WeakKeyDictionary[ClientRequest, Witness] = WeakKeyDictionary()

    def witness_of(self, request: ClientRequest) -> Witness | None:
        """Return what reads the answer to this request.

        None: the request never had a connection, so nothing of it was sent.
        """
        return self._witnesses.get(request)

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection on which no data has come.

        Raises:
            aiohttp.ClientConnectionError: the server sends first, on new connections too.
        """
        # All that wait idle, and a new connection.
        for _ in range(self.limit + 1):
            connection = await super().connect(req, traces, timeout)
            witness = _witness(connection)
            if witness is not None:
                self._witnesses[req] = witness
                return connection
            connection.close()
        raise aiohttp.ClientConnectionError("the server sends data before it gets a request")


def _witness(connection: Connection) -> Witness | None:
    """Return what will read the next answer; None where data has come already."""
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


class Upload:
    """A body for aiohttp to iterate over, once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.is_handed_over = False

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """Yield the chunks.

        `is_handed_over` is true when the last of them has been written to the connection.
        """
        view = memoryview(self._body)
        for begin in range(0, len(view), CHUNK_BYTES):
            for _ in range(TURNS_TO_READ):
                await asyncio.sleep(0)
            yield view[begin : begin + CHUNK_BYTES]
        self.is_handed_over = True


class Exchange:
    """One request and its answer, as a middleware of aiohttp: it keeps what aiohttp drops."""

    def __init__(self, connector: QuietConnector) -> None:
        self._connector = connector
        self._request: ClientRequest | None = None
        self._upload: Upload | None = None

    def body(self, body: bytes) -> bytes | Upload:
        """Return the body in the form in which aiohttp is to send it."""
        if len(body) > CHUNK_BYTES:
            self._upload = Upload(body)
        return self._upload if self._upload is not None else body

    async def __call__(
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Keep the request that aiohttp sends."""
        self._request = request
        return await handler(request)

    @property
    def head(self) -> AnswerHead | None:
        """What has come of the answer; None without a connection, so that nothing was sent."""
        witness = self._witness
        return witness.head if witness is not None else None

    @property
    def is_uploaded(self) -> bool:
        """True once no part of the body is left here."""
        is_handed_over = self._upload is None or self._upload.is_handed_over
        return is_handed_over and (self._witness is None or not self._witness.has_unsent)

    @property
    def _witness(self) -> Witness | None:
        return self._connector.witness_of(self._request) if self._request is not None else None

"""One request on its way: what was sent of it, and what has come back, also where aiohttp gives it
up.

A server that finds a body too large says so at its start, and may close at once. The next write
then fails, and with it asyncio stops reading. So a large body goes in chunks, and the loop turns
between two of them: what has come by then is read before anything more is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.client_reqrep import ClientRequest

from worker.edges.post_api.answer_head import AnswerHead
from worker.edges.post_api.connections import QuietConnector, Witness

# What is smaller goes at once.
CHUNK_BYTES = 64 * 1024
# In the first turn the loop looks at its sockets, in the second whoever reads them has done so.
TURNS_TO_READ = 2


class Upload:
    """A body for aiohttp to iterate over, once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.is_handed_over = False

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """Its chunks.

        `is_handed_over` is true when the last of them has been written to the connection.
        """
        view = memoryview(self._body)
        for begin in range(0, len(view), CHUNK_BYTES):
            for _ in range(TURNS_TO_READ):
                await asyncio.sleep(0)
            yield view[begin : begin + CHUNK_BYTES]
        self.is_handed_over = True


class Attempt:
    """One request on its way through aiohttp, as its middleware: it keeps hold of what else only
    aiohttp knows.
    """

    def __init__(self, connector: QuietConnector) -> None:
        self._connector = connector
        self._request: ClientRequest | None = None
        self._upload: Upload | None = None

    def body(self, body: bytes) -> bytes | Upload:
        """The body as aiohttp is to send it."""
        if len(body) > CHUNK_BYTES:
            self._upload = Upload(body)
        return self._upload if self._upload is not None else body

    async def __call__(
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """aiohttp shows the request, and goes on."""
        self._request = request
        return await handler(request)

    @property
    def head(self) -> AnswerHead | None:
        """What has come of the answer; None while there was no connection yet, so that nothing can
        have been sent.
        """
        witness = self._witness
        return witness.head if witness is not None else None

    @property
    def is_uploaded(self) -> bool:
        """True once nothing of the body is left here."""
        is_handed_over = self._upload is None or self._upload.is_handed_over
        return is_handed_over and (self._witness is None or not self._witness.has_unsent)

    @property
    def _witness(self) -> Witness | None:
        return self._connector.witness_of(self._request) if self._request is not None else None

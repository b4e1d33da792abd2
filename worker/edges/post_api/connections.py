"""A request on its connection: what was sent, and the answer as it was received.

aiohttp's parser refuses an answer as a whole for any fault in any header, and then doesn't show its
status. The status line says whether the rows were loaded, so it is read here beside that parser and
decides, whatever follows. Source: RFC 9112, sections 2 to 4 and 6.

A server that finds a body too large answers at its start, and may close at once. The next write
then fails, and with it asyncio stops reading. So a large body is sent in chunks, and the loop turns
between two of them: an answer that has come is read before anything more is written.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import getproxies_environment
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from worker.errors import UnavailableError
from worker.tls_files import TlsFiles, TlsFilesError, tls_context

# A longer line is read to its end and kept up to here.
LINE_BYTES_MAX = 64 * 1024
HEADERS_MAX = 1000
# All lines of an answer before its body, interim answers included. Without it 1,000 headers of 64
# KiB would take 64 MB.
HEAD_BYTES_MAX = 1024 * 1024
# Read from the system's buffer when a connection ends.
LEFT_BYTES_MAX = 64 * 1024
# A smaller body is sent at once.
CHUNK_BYTES = 64 * 1024
# In the first turn the loop looks at its sockets, in the second their readers have run.
TURNS_TO_READ = 2

SWITCHING_PROTOCOLS = 101
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?", re.DOTALL)
_KEPT = frozenset({"retry-after", "date", "age"})


class AnswerHead:
    """The lines of one answer up to its body. `status` is None until a status line is complete."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._headers: dict[str, str] = {}
        self._line = bytearray()
        self._bytes = 0
        self._is_interim = False
        self._is_over = False

    @property
    def is_too_large(self) -> bool:
        """True if the lines before the body take more than `HEAD_BYTES_MAX`."""
        return self._bytes > HEAD_BYTES_MAX

    def header(self, name: str) -> str | None:
        """Return the first value of a kept header; `name` is in lower case."""
        return self._headers.get(name)

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the answer; those of the body are ignored."""
        begin = 0
        while not self._is_over and begin < len(data):
            end = data.find(b"\n", begin)
            stop = end if end >= 0 else len(data)
            self._line += data[begin : min(stop, begin + LINE_BYTES_MAX - len(self._line))]
            self._bytes += stop - begin
            if end < 0:
                break
            self._take(bytes(self._line).removesuffix(b"\r"))
            self._line.clear()
            self._bytes += 1
            begin = end + 1
        if self.status is None and len(self._line) >= LINE_BYTES_MAX:
            # A reason phrase without an end; the code before it is complete.
            self._take_status(bytes(self._line))

    def _take(self, line: bytes) -> None:
        if self.status is None and not self._is_interim:
            # Source: RFC 9112, section 2.2: an empty line before the status line is ignored.
            if line:
                self._take_status(line)
        elif line:
            self._take_header(line)
        elif self._is_interim:
            self._is_interim = False
        else:
            self._is_over = True

    def _take_status(self, line: bytes) -> None:
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            # Not HTTP: nothing that follows has a meaning.
            self._is_over = True
            return
        status = int(match[1])
        self._is_interim = status < 200 and status != SWITCHING_PROTOCOLS
        if not self._is_interim:
            self.status = status

    def _take_header(self, line: bytes) -> None:
        if self._is_interim:
            return
        name, _, value = line.partition(b":")
        text = name.decode("latin-1").lower()
        if text in _KEPT:
            self._headers.setdefault(text, value.strip(b" \t").decode("latin-1"))


class Witness(asyncio.Protocol):
    """A protocol between a connection and aiohttp's own: it reads the head of each answer."""

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self.head = AnswerHead()

    @property
    def has_unsent(self) -> bool:
        """True while bytes wait here to be sent."""
        return self._transport.get_write_buffer_size() > 0

    def begin(self) -> None:
        """Expect the answer to the next request."""
        self.head = AnswerHead()

    def data_received(self, data: bytes) -> None:
        """Read the head and pass the data on; an endless head ends the connection."""
        self.head.feed(data)
        if self.head.is_too_large:
            self._transport.abort()
        else:
            self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the server sends no more."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Pass on that enough waits to be sent."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that more may be sent."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Read what is left, then pass on that the connection has ended."""
        if exc is not None and self.head.status is None:
            self._read_what_is_left()
        self._protocol.connection_lost(exc)

    def _read_what_is_left(self) -> None:
        """Read what the system's buffer holds.

        asyncio stops reading when a write fails, and an early answer may be in the buffer. With TLS
        the keys are gone with the connection; what is left then stays unread.
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


def verifying(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return what aiohttp verifies servers with: their certificate and their name, always.

    Args:
        ca_file: whose certificates are trusted; None: those of the system.

    Raises:
        UnavailableError: the file can't be used.
    """
    if ca_file is None:
        return True
    try:
        return tls_context(TlsFiles(ca_file))
    except TlsFilesError as error:
        raise UnavailableError(f"appmetrica.{error.setting}: {error}") from None


def proxy_passwords() -> list[str]:
    """Return the passwords in the proxies' addresses of the environment, to be masked."""
    found: list[str] = []
    for address in getproxies_environment().values():
        try:
            password = URL(address).password
        except ValueError:
            # No address: requests fail, and show nothing of it.
            continue
        if password:
            found.append(password)
    return found


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

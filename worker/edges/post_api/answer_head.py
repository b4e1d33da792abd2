"""The head of an answer, as it was received: the status decides, whatever follows it.

aiohttp's parser refuses an answer as a whole for any fault in any header, and then doesn't show its
status. The status line says whether the rows were loaded, so it is read here beside that parser.
Source: RFC 9112, sections 2 to 4 and 6.
"""

from __future__ import annotations

import asyncio
import re

# A longer line is read to its end and kept up to here.
LINE_BYTES_MAX = 64 * 1024
HEADERS_MAX = 1000
# All lines of an answer before its body, interim answers included. Without it 1,000 headers of 64
# KiB would take 64 MB.
HEAD_BYTES_MAX = 1024 * 1024
# Read from the system's buffer when a connection ends.
LEFT_BYTES_MAX = 64 * 1024

SWITCHING_PROTOCOLS = 101
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?", re.DOTALL)
_KEPT = frozenset({"retry-after", "date", "age"})


class AnswerHead:
    """The lines of an answer up to its body. `status` is None until a status line is complete."""

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

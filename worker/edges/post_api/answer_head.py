"""The start of an answer as it came over the wire: its status line, and the headers that the worker
looks at.

aiohttp's parser refuses an answer as a whole for any fault in any header, and then says nothing of
its status. The status line says whether the rows were loaded, so it is read here beside that
parser, and decides whatever comes behind it. Source: RFC 9112, sections 2 to 4 and 6.
"""

from __future__ import annotations

import re

# What is longer is read to its end and kept no further.
LINE_BYTES_MAX = 64 * 1024
HEADERS_MAX = 1000
# All lines of an answer before its body, interim answers included. Without it 1,000 headers of 64
# KiB would take 64 MB.
HEAD_BYTES_MAX = 1024 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?", re.DOTALL)
_KEPT = frozenset({"retry-after", "date", "age"})
SWITCHING_PROTOCOLS = 101


class AnswerHead:
    """One answer's lines up to its body, as they come.

    `status` is None until a status line is complete.
    """

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
        """The value of one of the headers that are kept; `name` in lower case. The first, where
        there are several.
        """
        return self._headers.get(name)

    def feed(self, data: bytes) -> None:
        """More has come. The body passes by."""
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
            # A reason without an end, behind a code that is there.
            self._take_status(bytes(self._line))

    def _take(self, line: bytes) -> None:
        if self.status is None and not self._is_interim:
            # Source: RFC 9112, section 2.2: an empty line before the status line is passed over.
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
            # No HTTP: nothing that follows means anything.
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

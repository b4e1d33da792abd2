"""Opens a file of records and detects its format: compression, encoding, and kind of content."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass
from typing import BinaryIO, cast

import orjson

from worker.core.post_api.resource import RESOURCES
from worker.tools.file_formats import FileFormat, FileFormatError

# Enough for the first record of nearly every file.
HEAD_BYTES = 64 * 1024
_GZIP = b"\x1f\x8b"
_COLUMNS = frozenset(column.name for resource in RESOURCES.values() for column in resource.columns)
_KCAT_FIELDS = {"topic", "partition", "offset"}


@dataclass(frozen=True, slots=True)
class DetectedFile:
    """A file from its first byte on, uncompressed; its format, and a description for people."""

    stream: BinaryIO
    file_format: FileFormat
    description: str


def detect(file: BinaryIO) -> DetectedFile:
    """Detect the format of a file.

    Raises:
        FileFormatError: the file can't be read, is UTF-16 text, or is gzip data that can't be
            decompressed.
    """
    try:
        head = file.read(HEAD_BYTES)
    except OSError as error:
        raise FileFormatError(f"can't be read: {error.strerror}") from None
    compression = ""
    stream = _rewound(head, file)
    if head.startswith(_GZIP):
        compression = ", compressed with gzip"
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=stream))
        try:
            head = stream.read(HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise FileFormatError(f"it seems to be gzip, but is damaged: {error}") from None
        stream = _rewound(head, stream)
    if _is_utf16(head):
        raise FileFormatError(
            "it seems to be UTF-16 text; convert it to UTF-8: iconv -f UTF-16 -t UTF-8 FILE"
        )
    file_format, description = _content(head.removeprefix(BOM_UTF8))
    if head.startswith(BOM_UTF8):
        description += ", with a byte order mark"
    return DetectedFile(stream, file_format, description + compression)


def _rewound(head: bytes, rest: BinaryIO) -> BinaryIO:
    """The whole stream again, after its head was read."""
    return cast(BinaryIO, io.BufferedReader(_Chain(head, rest), HEAD_BYTES))


class _Chain(io.RawIOBase):
    """The bytes of a head, then those of a stream."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        part = self._head[: len(view)] or self._rest.read(len(view))
        self._head = self._head[len(view) :]
        view[: len(part)] = part
        return len(part)


def _is_utf16(head: bytes) -> bool:
    """True for a byte order mark, or for the zero bytes of ASCII characters in UTF-16."""
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return True
    even, odd = head[0:200:2], head[1:200:2]
    return bool(odd) and (even.count(0) > len(even) // 2) != (odd.count(0) > len(odd) // 2)


def _content(head: bytes) -> tuple[FileFormat, str]:
    text = head.lstrip()
    line, newline, following = text.partition(b"\n")
    if text.startswith((b"[", b"{")):
        first = _json(line)
        is_only = not following.strip()
        if text.startswith(b"[") and (first is None or is_only):
            return FileFormat.JSON, "a JSON array of records"
        if isinstance(first, dict) and first.keys() >= _KCAT_FIELDS:
            return FileFormat.KCAT, "output of kcat -J"
        if text.startswith(b"{") and first is None and newline and _is_pretty(line, text):
            return FileFormat.JSON, "pretty-printed JSON: a record on several lines"
    elif _COLUMNS & {name.strip(b'" \r').decode(errors="replace") for name in line.split(b",")}:
        return FileFormat.CSV, "CSV with a header"
    return FileFormat.JSONL, "a JSON value per line"


def _json(text: bytes) -> object:
    """The value of a JSON text; None if it is incomplete or invalid."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _is_pretty(line: bytes, text: bytes) -> bool:
    """True if an object begins on this line and ends on a later line."""
    if line.strip() == b"{":
        return True
    try:
        _, end = json.JSONDecoder().raw_decode(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return False
    return end > len(line.decode(errors="replace"))

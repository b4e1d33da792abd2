"""Reads records from files: JSON, the format of `kcat -J`, CSV as the Post API takes it.

Files are read in chunks, with the fastest reader for each format: a file of a million records is
validated in seconds.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from base64 import b64decode
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from io import StringIO
from itertools import islice
from typing import BinaryIO

import msgspec
import orjson

CHUNK_RECORDS = 1000
# The Post API takes 1 GB in a request.
WHOLE_BYTES_MAX = 1_000_000_000
# The largest record of Kafka in base64, with its key and headers. A line without an end, such as a
# few kilobytes of gzip hold, must not fill the memory.
LINE_BYTES_MAX = 128 * 1024 * 1024
# A cell may be as long as a request body.
CELL_CHARACTERS_MAX = 1_000_000_000
# RFC 4180, and lines may end with \n alone. The csv module also accepts a bare carriage return and
# a quote inside an unquoted cell. Possessive quantifiers don't backtrack.
_CSV = re.compile(r'(?:(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)(?:,|\r?\n|\Z))*+')
_SPACE = re.compile(r"[ \t\r\n]*")
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
# Only the ends of values are looked for: a number of any length is passed on to the intake.
_value = json.JSONDecoder(parse_int=str, parse_float=str)


class FileFormat(StrEnum):
    """The format of a file of records."""

    JSONL = "jsonl"
    JSON = "json"
    KCAT = "kcat"
    CSV = "csv"


class FileRecord(msgspec.Struct, gc=False):
    """A record from a file, as the intake takes it.

    `offset` is its line, or its number among JSON values, counted from 1. `topic` is None if the
    file names no topic.
    """

    offset: int
    value: bytes | None
    timestamp: int = -1
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no record."""

    line: int
    message: str


class FileFormatError(Exception):
    """The rest of the file can't be read: it has another format."""


Chunk = Sequence[FileRecord | Unreadable]


def read(file: BinaryIO, file_format: FileFormat) -> Iterator[Chunk]:
    """The records of a file, in chunks. Empty lines are skipped.

    Raises:
        FileFormatError: a file that is not JSON, CSV that the Post API refuses as a whole,
            or damaged gzip data.
    """
    readers: dict[FileFormat, Callable[[BinaryIO], Iterator[FileRecord | Unreadable]]] = {
        FileFormat.JSONL: _jsonl,
        FileFormat.JSON: _json,
        FileFormat.KCAT: _kcat,
        FileFormat.CSV: _csv,
    }
    records = readers[file_format](file)
    try:
        while chunk := list(islice(records, CHUNK_RECORDS)):
            yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"can't be read: {error}") from None


def _jsonl(file: BinaryIO) -> Iterator[FileRecord | Unreadable]:
    """Each line is the value of a record. The intake decides whether it is valid."""
    for number, line in enumerate(_lines(file), 1):
        value = line.rstrip(b"\r\n")
        if number == 1:
            value = value.removeprefix(BOM_UTF8)
        if value:
            yield FileRecord(number, value)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, each with its line break."""
    for number, line in enumerate(iter(partial(file.readline, LINE_BYTES_MAX + 1), b""), 1):
        if len(line) > LINE_BYTES_MAX:
            raise FileFormatError(f"line {number}: longer than {LINE_BYTES_MAX:,} bytes")
        yield line


def _json(file: BinaryIO) -> Iterator[FileRecord | Unreadable]:
    """Each element of an array is a record, and so is each value outside of an array."""
    text = _decoded(_content(file).removeprefix(BOM_UTF8))
    position, number = 0, 0
    while (start := _behind_space(text, position)) < len(text):
        try:
            _, position = _value.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, getattr(error, "pos", start)) + 1
            reason = getattr(error, "msg", "nested too deeply")
            raise FileFormatError(f"line {line}: not JSON: {reason}") from None
        for element in _records(text[start:position]):
            number += 1
            yield FileRecord(number, bytes(element))


def _records(text: str) -> Iterable[bytes | msgspec.Raw]:
    """The elements of an array, or the value itself if it is no array."""
    value = text.encode()
    if not value.startswith(b"["):
        return (value,)
    try:
        return _elements(value)
    except (msgspec.DecodeError, RecursionError):
        # NaN, or half of a surrogate pair: Python's own decoder accepts both. The intake refuses
        # the element that has it, and the others are checked.
        return _elements_one_by_one(text)


def _elements_one_by_one(text: str) -> Iterator[bytes]:
    position = _behind_space(text, 1)
    while position < len(text) and text[position] != "]":
        _, end = _value.raw_decode(text, position)
        yield text[position:end].encode()
        # Behind the comma, or at the bracket.
        position = _behind_space(text, end)
        if text[position] == ",":
            position = _behind_space(text, position + 1)


def _behind_space(text: str, position: int) -> int:
    return _SPACE.match(text, position).end()  # type: ignore[union-attr]


def _content(file: BinaryIO) -> bytes:
    """The content of a file that has to be read at once."""
    content = file.read(WHOLE_BYTES_MAX + 1)
    if len(content) > WHOLE_BYTES_MAX:
        raise FileFormatError(f"larger than {WHOLE_BYTES_MAX:,} bytes; use a JSON value per line")
    return content


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileFormatError(f"line {line}: not UTF-8: {error.reason}") from None


class _KcatRecord(msgspec.Struct, gc=False):
    payload: str | None = None
    payload_base64: str | None = None
    key: str | None = None
    ts: int = -1
    topic: str | None = None
    headers: list[str | None] = []


_kcat_record = msgspec.json.Decoder(_KcatRecord)


def _kcat(file: BinaryIO) -> Iterator[FileRecord | Unreadable]:
    decode = _kcat_record.decode
    for number, line in enumerate(_lines(file), 1):
        if line.isspace():
            continue
        try:
            record = decode(line)
            # kcat writes bytes that are not UTF-8 as lone surrogates.
            value = (
                record.payload.encode(errors="surrogatepass")
                if record.payload is not None
                else None
            )
            if record.payload_base64 is not None:
                value = b64decode(record.payload_base64, validate=True)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            yield Unreadable(number, f"not a record as kcat -J prints it: {error}")
            continue
        key = record.key.encode(errors="surrogatepass") if record.key is not None else None
        yield FileRecord(
            number,
            value,
            record.ts,
            key,
            _pairs(record.headers) if record.headers else (),
            record.topic,
        )


def _pairs(flat: Sequence[str | None]) -> list[tuple[str, bytes]]:
    return [
        (name or "", (value or "").encode(errors="surrogatepass"))
        for name, value in zip(flat[::2], flat[1::2], strict=False)
    ]


def _csv(file: BinaryIO) -> Iterator[FileRecord | Unreadable]:
    """Each row becomes the JSON object of a producer; an empty cell is an absent parameter.

    What the Post API refuses as a whole is an error: a byte order mark, a repeated column, text
    that is not RFC 4180. The emulator of the API applies the same rules.
    """
    content = _content(file)
    if content.startswith(BOM_UTF8):
        raise FileFormatError("line 1: the body starts with a byte order mark")
    text = _decoded(content)
    match = _CSV.match(text)
    end = match.end() if match is not None else 0
    if end < len(text):
        line = text.count("\n", 0, end) + 1
        raise FileFormatError(f"line {line}: not CSV: {text[end : end + 20]!r} is not expected")
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        names = next(rows, None)
        if not names:
            raise FileFormatError("the file is empty; the first line must name the columns")
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise FileFormatError(f"line 1: column {repeated[0]!r} is repeated")
        for row in rows:
            if len(row) == len(names):
                cells = zip(names, row, strict=True)
                value = orjson.dumps({name: cell for name, cell in cells if cell})
                yield FileRecord(rows.line_num, value)
            else:
                message = f"{len(row)} cells, but the header names {len(names)} columns"
                yield Unreadable(rows.line_num, message)
    except csv.Error as error:
        raise FileFormatError(f"line {rows.line_num}: not CSV: {error}") from None

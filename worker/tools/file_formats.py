"""Reads records from files: JSON lines, the format of `kcat -J`, CSV as the Post API takes it.

Files are read in chunks, with the fastest reader for each format: a file of a million records is
validated in seconds.
"""

from __future__ import annotations

import csv
from base64 import b64decode
from binascii import Error as NotBase64Error
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import TextIOWrapper
from itertools import islice
from typing import BinaryIO

import msgspec
import orjson

CHUNK_RECORDS = 1000
# A cell may be as long as a request body.
CELL_CHARACTERS_MAX = 1_000_000_000


class FileFormat(StrEnum):
    """The format of a file of records."""

    JSONL = "jsonl"
    KCAT = "kcat"
    CSV = "csv"


class FileRecord(msgspec.Struct, gc=False):
    """A record from a file, as the intake takes it.

    `offset` is its line, counted from 1; `topic` is None if the file names no topic.
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
        FileFormatError: a CSV file without a header, or with a line that is not CSV.
    """
    readers: dict[FileFormat, Callable[[BinaryIO], Iterator[FileRecord | Unreadable]]] = {
        FileFormat.JSONL: _jsonl,
        FileFormat.KCAT: _kcat,
        FileFormat.CSV: _csv,
    }
    records = readers[file_format](file)
    while chunk := list(islice(records, CHUNK_RECORDS)):
        yield chunk


def _jsonl(file: BinaryIO) -> Iterator[FileRecord | Unreadable]:
    """Each line is the value of a record. The intake decides whether it is valid."""
    for number, line in enumerate(file, 1):
        value = line.rstrip(b"\r\n")
        if value:
            yield FileRecord(number, value)


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
    for number, line in enumerate(file, 1):
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
        except (msgspec.DecodeError, NotBase64Error, RecursionError, UnicodeDecodeError) as error:
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
    """Each row becomes the JSON object of a producer; an empty cell is an absent parameter."""
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
    rows = csv.reader(text, strict=True)
    try:
        names = next(rows, None)
        if not names:
            raise FileFormatError("the file is empty; the first line must name the columns")
        for row in rows:
            if len(row) == len(names):
                value = orjson.dumps(
                    {name: cell for name, cell in zip(names, row, strict=True) if cell}
                )
                yield FileRecord(rows.line_num, value)
            elif row:
                yield Unreadable(
                    rows.line_num, f"{len(row)} cells, but the header names {len(names)} columns"
                )
    except csv.Error as error:
        raise FileFormatError(f"line {rows.line_num}: not CSV: {error}") from None
    except UnicodeDecodeError as error:
        raise FileFormatError(f"near line {rows.line_num}: not UTF-8: {error.reason}") from None
    finally:
        # The caller closes the file.
        text.detach()

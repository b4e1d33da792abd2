"""Records from files: JSON lines, the form of `kcat -J`, CSV as the Post API takes it.

Read in chunks and by the fastest reader there is for each: a file of a million records should be
judged in seconds.
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
# A cell may be as long as a body.
CELL_CHARACTERS_MAX = 1_000_000_000


class Form(StrEnum):
    """What a file of records looks like."""

    JSONL = "jsonl"
    KCAT = "kcat"
    CSV = "csv"


class FileRecord(msgspec.Struct, gc=False):
    """A record from a file, as the intake takes it.

    `offset` is its line, from 1 on; `topic` where the file names one.
    """

    offset: int
    value: bytes | None
    timestamp: int = -1
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that holds no record."""

    line: int
    message: str


class FormError(Exception):
    """The file can't be read on: its form is another one."""


Chunk = Sequence[FileRecord | Unreadable]


def read(file: BinaryIO, form: Form) -> Iterator[Chunk]:
    """The records of a file, in chunks. Empty lines are passed over.

    Raises:
        FormError: a CSV without a header, or with a line that is no CSV.
    """
    readers: dict[Form, Callable[[BinaryIO], Iterator[FileRecord | Unreadable]]] = {
        Form.JSONL: _jsonl,
        Form.KCAT: _kcat,
        Form.CSV: _csv,
    }
    records = readers[form](file)
    while chunk := list(islice(records, CHUNK_RECORDS)):
        yield chunk


def _jsonl(file: BinaryIO) -> Iterator[FileRecord | Unreadable]:
    """Each line is a record's value, whatever it holds: judging it is the intake's business."""
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
            one = decode(line)
            # kcat makes lone surrogates of bytes that are not UTF-8.
            value = one.payload.encode(errors="surrogatepass") if one.payload is not None else None
            if one.payload_base64 is not None:
                value = b64decode(one.payload_base64, validate=True)
        except (msgspec.DecodeError, NotBase64Error, RecursionError, UnicodeDecodeError) as error:
            yield Unreadable(number, f"not a record as kcat -J prints it: {error}")
            continue
        key = one.key.encode(errors="surrogatepass") if one.key is not None else None
        yield FileRecord(
            number, value, one.ts, key, _pairs(one.headers) if one.headers else (), one.topic
        )


def _pairs(flat: Sequence[str | None]) -> list[tuple[str, bytes]]:
    return [
        (name or "", (value or "").encode(errors="surrogatepass"))
        for name, value in zip(flat[::2], flat[1::2], strict=False)
    ]


def _csv(file: BinaryIO) -> Iterator[FileRecord | Unreadable]:
    """Each row becomes the JSON object that a producer would have sent; an empty cell is an absent
    parameter.
    """
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
    rows = csv.reader(text, strict=True)
    try:
        names = next(rows, None)
        if not names:
            raise FormError("the file is empty; the first line must name the columns")
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
        raise FormError(f"line {rows.line_num}: not CSV: {error}") from None
    except UnicodeDecodeError as error:
        raise FormError(f"near line {rows.line_num}: not UTF-8: {error.reason}") from None
    finally:
        # The file is the caller's, and it stays open.
        text.detach()

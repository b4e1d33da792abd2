"""Reads requests: a CSV body or query parameters become rows, or the reason why not.

The CSV is read with the standard library's reader: what it understands is what was sent. But it
forgives: a quote inside an unquoted cell, a carriage return alone. So the text is first held
against RFC 4180's own grammar.

A request with rows of several applications is answered 403, as one whose rows are all of another:
the key that it carries is not the key of every row.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from urllib.parse import parse_qsl

from worker.sandbox.emulator.contract import Contract, fault_of_header, fault_of_row

ROWS_MAX = 100_000
# The reader's own bound is 128 KiB a cell.
CELL_CHARACTERS_MAX = 2**31 - 1
PARAMETERS_MAX = 1000

# RFC 4180, and lines may end with \n alone. Possessive, so that a body of any size is read in one
# pass without a way back.
_CSV = re.compile(r'(?:(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)(?:,|\r?\n|\Z))*+')


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is taken: rows of the key's `applications`, with event times between `oldest` and
    `latest` in Unix seconds.

    `refused`: column values that are refused for no reason but the plan's.
    """

    applications: Set[int]
    oldest: int
    latest: int
    refused: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a request that is in order: their application, the columns, and each
    row's cells.
    """

    application_id: int
    columns: tuple[str, ...]
    cells: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered otherwise than with 200; none of its rows is kept."""

    status: int
    reason: str


def read_query(raw: str) -> list[tuple[str, str]] | Refusal:
    """The parameters of a query string as it came over the wire, decoded."""
    if "+" in raw:
        return Refusal(400, "a '+' stands in the query string: a space is %20, a plus is %2B")
    if not raw:
        return []
    try:
        return parse_qsl(
            raw,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=PARAMETERS_MAX,
        )
    except ValueError as error:
        # UnicodeDecodeError is one, and its text would show the parameter; the other says `bad
        # query field`, and shows it too.
        kind = (
            "is not UTF-8"
            if isinstance(error, UnicodeDecodeError)
            else "is not made of name=value pairs"
        )
        return Refusal(400, f"the query string {kind}")


def read_body(contract: Contract, body: bytes, bounds: Bounds) -> Rows | Refusal:
    """The rows of a CSV body."""
    if body.startswith(b"\xef\xbb\xbf"):
        return Refusal(400, "the body starts with a byte order mark")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return Refusal(400, f"the body is not UTF-8 at byte {error.start}")
    match = _CSV.match(text)
    end = match.end() if match is not None else 0
    if end < len(text):
        return Refusal(
            400,
            f"line {text.count(chr(10), 0, end) + 1}: not CSV: {text[end : end + 20]!r} can't "
            "stand there",
        )
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(reader, [])
        fault = fault_of_header(contract, columns)
        if fault is not None:
            return Refusal(400, fault)
        return _read_rows(contract, columns, reader, bounds)
    except csv.Error as error:
        return Refusal(400, f"line {reader.line_num}: not CSV: {error}")


def read_parameters(
    contract: Contract, parameters: list[tuple[str, str]], bounds: Bounds
) -> Rows | Refusal:
    """The one row of a request in the query string."""
    columns = [name for name, _ in parameters]
    fault = fault_of_header(contract, columns)
    if fault is not None:
        return Refusal(400, fault)
    return _read_rows(contract, columns, iter([[value for _, value in parameters]]), bounds)


def _read_rows(
    contract: Contract, columns: list[str], lines: Iterator[list[str]], bounds: Bounds
) -> Rows | Refusal:
    kept: list[tuple[str, ...]] = []
    application_id = ""
    for number, cells in enumerate(lines, start=1):
        if number > ROWS_MAX:
            return Refusal(400, f"more than {ROWS_MAX} rows")
        if len(cells) != len(columns):
            return Refusal(400, f"row {number}: {len(cells)} cells under {len(columns)} columns")
        row = dict(zip(columns, cells, strict=True))
        fault = fault_of_row(contract, row, oldest=bounds.oldest, latest=bounds.latest)
        if fault is not None:
            return Refusal(400, f"row {number}: {fault}")
        if int(row["application_id"]) not in bounds.applications:
            return Refusal(
                403, f"row {number}: the key is not of application {row['application_id']}"
            )
        application_id = application_id or row["application_id"]
        if row["application_id"] != application_id:
            return Refusal(
                403,
                f"row {number}: application {row['application_id']} in a request of "
                f"{application_id}",
            )
        for name, values in bounds.refused.items():
            if row.get(name) in values:
                return Refusal(400, f"row {number}: {name} {row[name]!r} is refused")
        kept.append(tuple(cells))
    return Rows(int(application_id), tuple(columns), kept) if kept else Refusal(400, "no rows")

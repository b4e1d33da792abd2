"""Reads requests: rows from a CSV body or from query parameters, or a refusal.

CSV is parsed with the standard library's reader. That reader accepts a quote inside an unquoted
cell and a bare carriage return, so the text is first checked against the grammar of RFC 4180.

A request with rows of several applications is answered 403, as a request whose rows are all of
another application: its key is not the key of every row.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from urllib.parse import parse_qsl

from worker.sandbox.emulator.contract import Contract, fault_of_header, fault_of_row

ROWS_MAX = 100_000
# The default limit of the csv module is 128 KiB.
CELL_CHARACTERS_MAX = 2**31 - 1
PARAMETERS_MAX = 1000

# RFC 4180, and lines may end with \n alone. Possessive quantifiers read a body of any size in one
# pass without backtracking.
_CSV = re.compile(r'(?:(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)(?:,|\r?\n|\Z))*+')


@dataclass(frozen=True, slots=True)
class AcceptanceBounds:
    """What is accepted: the key's applications, and event times in Unix seconds.

    `refused`: well-formed values, by column, that the emulator was set to refuse.
    """

    applications: Set[int]
    oldest: int
    latest: int
    refused: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a valid request: their application, the columns, and each row's cells."""

    application_id: int
    columns: tuple[str, ...]
    cells: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """An answer other than 200; no row of the request is kept."""

    status: int
    reason: str


def read_query(raw: str) -> list[tuple[str, str]] | RefusedRequest:
    """The decoded parameters of a raw query string."""
    if "+" in raw:
        return RefusedRequest(400, "the query string contains '+': a space is %20, a plus is %2B")
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
        # The text of either error would show the parameter, which may be a key.
        kind = (
            "is not UTF-8"
            if isinstance(error, UnicodeDecodeError)
            else "is not made of name=value pairs"
        )
        return RefusedRequest(400, f"the query string {kind}")


# The rows of a request to this contract, from its parameters (without the key) and its body.
ReadRows = Callable[
    [Contract, list[tuple[str, str]], bytes, AcceptanceBounds], Rows | RefusedRequest
]


def read_body_request(
    contract: Contract, parameters: list[tuple[str, str]], body: bytes, bounds: AcceptanceBounds
) -> Rows | RefusedRequest:
    """Return the rows of a request whose rows are in its body."""
    if parameters:
        return RefusedRequest(
            400, f"parameter {parameters[0][0]!r} beside a body: the rows are in the body"
        )
    return read_body(contract, body, bounds)


def read_query_request(
    contract: Contract, parameters: list[tuple[str, str]], body: bytes, bounds: AcceptanceBounds
) -> Rows | RefusedRequest:
    """Return the row of a request whose row is in its query string."""
    if body:
        return RefusedRequest(400, "a request in the query string has no body")
    return read_parameters(contract, parameters, bounds)


def read_body(contract: Contract, body: bytes, bounds: AcceptanceBounds) -> Rows | RefusedRequest:
    """Return the rows of a CSV body."""
    if body.startswith(b"\xef\xbb\xbf"):
        return RefusedRequest(400, "the body starts with a byte order mark")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return RefusedRequest(400, f"the body is not UTF-8 at byte {error.start}")
    match = _CSV.match(text)
    end = match.end() if match is not None else 0
    if end < len(text):
        return RefusedRequest(
            400,
            f"line {text.count(chr(10), 0, end) + 1}: not CSV: {text[end : end + 20]!r} is "
            "not expected",
        )
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(reader, [])
        fault = fault_of_header(contract, columns)
        if fault is not None:
            return RefusedRequest(400, fault)
        return _read_rows(contract, columns, reader, bounds)
    except csv.Error as error:
        return RefusedRequest(400, f"line {reader.line_num}: not CSV: {error}")


def read_parameters(
    contract: Contract, parameters: list[tuple[str, str]], bounds: AcceptanceBounds
) -> Rows | RefusedRequest:
    """Return the row of decoded parameters."""
    columns = [name for name, _ in parameters]
    fault = fault_of_header(contract, columns)
    if fault is not None:
        return RefusedRequest(400, fault)
    return _read_rows(contract, columns, iter([[value for _, value in parameters]]), bounds)


def _read_rows(
    contract: Contract, columns: list[str], lines: Iterator[list[str]], bounds: AcceptanceBounds
) -> Rows | RefusedRequest:
    kept: list[tuple[str, ...]] = []
    application_id = ""
    for number, cells in enumerate(lines, start=1):
        if number > ROWS_MAX:
            return RefusedRequest(400, f"more than {ROWS_MAX} rows")
        if len(cells) != len(columns):
            return RefusedRequest(
                400, f"row {number}: {len(cells)} cells under {len(columns)} columns"
            )
        row = dict(zip(columns, cells, strict=True))
        fault = fault_of_row(contract, row, oldest=bounds.oldest, latest=bounds.latest)
        if fault is not None:
            return RefusedRequest(400, f"row {number}: {fault}")
        if int(row["application_id"]) not in bounds.applications:
            return RefusedRequest(
                403, f"row {number}: the key is not of application {row['application_id']}"
            )
        application_id = application_id or row["application_id"]
        if row["application_id"] != application_id:
            return RefusedRequest(
                403,
                f"row {number}: application {row['application_id']} in a request of "
                f"{application_id}",
            )
        for name, values in bounds.refused.items():
            if row.get(name) in values:
                return RefusedRequest(400, f"row {number}: {name} {row[name]!r} is refused")
        kept.append(tuple(cells))
    return (
        Rows(int(application_id), tuple(columns), kept) if kept else RefusedRequest(400, "no rows")
    )

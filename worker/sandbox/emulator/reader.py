"""Reads requests: a CSV body or query parameters become rows, or the reason why not.

The CSV is read with the standard library's reader: what it understands is what was sent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from worker.sandbox.emulator.contract import Contract, fault_of_header, fault_of_row

ROWS_MAX = 100_000
# The reader's own bound is 128 KiB a cell.
CELL_CHARACTERS_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """The event times that are taken, in Unix seconds; the column values that are refused for no reason but the plan's."""

    oldest: int
    latest: int
    refused: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a request that is in order: the columns, and each row's cells."""

    columns: tuple[str, ...]
    cells: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered otherwise than with 200; none of its rows is kept."""

    status: int
    reason: str


def read_body(contract: Contract, application_id: int, body: bytes, bounds: Bounds) -> Rows | Refusal:
    """The rows of a CSV body."""
    if body.startswith(b"\xef\xbb\xbf"):
        return Refusal(400, "the body starts with a byte order mark")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return Refusal(400, f"the body is not UTF-8 at byte {error.start}")
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(reader, [])
        fault = fault_of_header(contract, columns)
        if fault is not None:
            return Refusal(400, fault)
        return _read_rows(contract, application_id, columns, reader, bounds)
    except csv.Error as error:
        return Refusal(400, f"line {reader.line_num}: not CSV: {error}")


def read_parameters(
    contract: Contract, application_id: int, parameters: list[tuple[str, str]], bounds: Bounds
) -> Rows | Refusal:
    """The one row of a request in the query string."""
    columns = [name for name, _ in parameters]
    fault = fault_of_header(contract, columns)
    if fault is not None:
        return Refusal(400, fault)
    return _read_rows(contract, application_id, columns, iter([[value for _, value in parameters]]), bounds)


def _read_rows(
    contract: Contract, application_id: int, columns: list[str], lines: Iterator[list[str]], bounds: Bounds
) -> Rows | Refusal:
    kept: list[tuple[str, ...]] = []
    for number, cells in enumerate(lines, start=1):
        if number > ROWS_MAX:
            return Refusal(400, f"more than {ROWS_MAX} rows")
        if len(cells) != len(columns):
            return Refusal(400, f"row {number}: {len(cells)} cells under {len(columns)} columns")
        row = dict(zip(columns, cells, strict=True))
        fault = fault_of_row(contract, row, oldest=bounds.oldest, latest=bounds.latest)
        if fault is not None:
            return Refusal(400, f"row {number}: {fault}")
        if int(row["application_id"]) != application_id:
            return Refusal(403, f"row {number}: the key is not of application {row['application_id']}")
        for name, values in bounds.refused.items():
            if row.get(name) in values:
                return Refusal(400, f"row {number}: {name} {row[name]!r} is refused")
        kept.append(tuple(cells))
    return Rows(tuple(columns), kept) if kept else Refusal(400, "no rows")

"""A row's line: CSV of all columns, CSV of the filled columns, or a query string.

Sources: RFC 4180, with a newline as the line end; a cell is quoted only where it must be. The Post
API's documentation for the query string: values are percent-encoded, a space is `%20`, never `+`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote as percent_encoded

from worker.core.intake.rules import ColumnChoice, IntakeRules
from worker.core.model.batch import RequestForm
from worker.core.model.row import Destination
from worker.core.post_api.column import RAW_KINDS, Kind

# The cells may be changed: the caller doesn't use them afterwards.
Write = Callable[[Destination, list[str]], tuple[Destination, bytes]]

# A decimal and an array are raw text too, but never contain a quote.
_QUOTED = RAW_KINDS - {Kind.DECIMAL, Kind.ARRAY}


def writer(rules: IntakeRules) -> Write:
    """A function that makes a row's line and completes its destination.

    With exact columns, the filled columns are a part of the destination.
    """
    if rules.request is RequestForm.PARAMS:
        return _parameters(rules)
    # The identity is the second cell: every column but the first is one place further than in the
    # table, and the first isn't JSON.
    json_cells = tuple(
        index + 1 for index, column in enumerate(rules.resource.columns) if column.kind in _QUOTED
    )
    return _exact(json_cells) if rules.columns is ColumnChoice.EXACT else _all(json_cells)


def csv_line(cells: list[str], json_cells: tuple[int, ...]) -> bytes:
    """The CSV line of these cells, ended by a newline.

    Cells without JSON are searched for special characters all at once first, because most lines
    need no quotes.

    Args:
        cells: one text per column, empty for an absent value; JSON cells still unquoted. Consumed:
            the list is changed.
        json_cells: the indexes of JSON text, which always contains quotes: quoted without a search.
    """
    held = []
    for index in json_cells:
        held.append(cells[index])
        cells[index] = ""
    joined = "".join(cells)
    # The same as `is_plain`, without the call: this runs for every row.
    if "," in joined or '"' in joined or "\n" in joined or "\r" in joined:
        cells = [cell if is_plain(cell) else quoted(cell) for cell in cells]
    for index in json_cells:
        text = held.pop(0)
        if text:
            cells[index] = '"' + text.replace('"', '""') + '"'
    return (",".join(cells) + "\n").encode()


def quoted(text: str) -> str:
    """The cell in quotes, with each quote inside it doubled."""
    return '"' + text.replace('"', '""') + '"'


def is_plain(text: str) -> bool:
    """True if no part of `text` needs quotes."""
    return not ("," in text or '"' in text or "\n" in text or "\r" in text)


def query_line(names: Iterable[str], cells: Iterable[str]) -> bytes:
    """`name=value&…` of the cells that are not empty, without the key."""
    return "&".join(
        [
            f"{name}={percent_encoded(cell, safe='')}"
            for name, cell in zip(names, cells, strict=True)
            if cell
        ]
    ).encode()


def _all(json_cells: tuple[int, ...]) -> Write:
    def write(destination: Destination, cells: list[str]) -> tuple[Destination, bytes]:
        return destination, csv_line(cells, json_cells)

    return write


def _exact(json_cells: tuple[int, ...]) -> Write:
    def write(destination: Destination, cells: list[str]) -> tuple[Destination, bytes]:
        filled = [index for index, cell in enumerate(cells) if cell]
        mask = sum(1 << index for index in filled)
        filled_json = tuple(place for place, index in enumerate(filled) if index in json_cells)
        line = csv_line([cells[index] for index in filled], filled_json)
        return destination._replace(filled=mask), line

    return write


def _parameters(rules: IntakeRules) -> Write:
    def write(destination: Destination, cells: list[str]) -> tuple[Destination, bytes]:
        return destination, query_line(rules.resource.header(destination.identity), cells)

    return write

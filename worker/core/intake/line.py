"""A row's line: CSV of all columns, CSV of the filled columns, or a query string.

Sources: RFC 4180, with a newline as the line end; a cell is quoted only where it must be. The Post
API's documentation for the query string: values are percent-encoded, a space is `%20`, never `+`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote as percent_encoded

from worker.core.counters.counters import CUT, PRECISION
from worker.core.intake.faults import shown_name
from worker.core.intake.rules import ColumnChoice, IntakeRules
from worker.core.model.batch import RequestForm
from worker.core.model.row import Destination
from worker.core.post_api.column import (
    DECIMAL_FRACTION_DIGITS_MAX,
    PAYLOAD_BYTES_MAX,
    RAW_KINDS,
    Kind,
)

# The cells may be changed: the caller doesn't use them afterwards.
Write = Callable[[Destination, list[str]], tuple[Destination, bytes]]

# A decimal and an array are raw text too, but never contain a quote.
QUOTED = RAW_KINDS - {Kind.DECIMAL, Kind.ARRAY}


class LineFormat:
    """How the lines of a resource are written, and which of their cells are counted.

    Attributes:
        write: makes the line of a row.
        timestamp: the index of the cell with the event's time; None without one.
        known: cells of open lists: index, column, documented values.
        limited: cells with a limit of the API: index, column, the test for a cell beyond it, and
            the change that is counted.
        name: the index of the cell with the event's name; None without one.
    """

    __slots__ = ("known", "limited", "name", "timestamp", "write")

    def __init__(self, rules: IntakeRules) -> None:
        resource = rules.resource
        self.write: Write = writer(rules)
        # A line has one identity cell, the second: every column but the first is one place further
        # than in the table.
        places = {index + (index > 0): column for index, column in enumerate(resource.columns)}
        self.timestamp = next(
            (index for index, column in places.items() if column.kind is Kind.TIMESTAMP), None
        )
        self.known = tuple(
            (index, column.name, frozenset((*column.known, "")))
            for index, column in places.items()
            if column.known
        )
        self.limited = tuple(
            (index, column.name, *_LIMITS[column.kind])
            for index, column in places.items()
            if column.kind is Kind.DECIMAL or column.name.endswith("payload")
        )
        self.name = next(
            (index for index, column in places.items() if column.name == resource.name_column), None
        )

    def event_name(self, cells: list[str]) -> str:
        """The kind of the event, as it may be shown."""
        return shown_name(cells[self.name]) if self.name is not None else ""


def writer(rules: IntakeRules) -> Write:
    """A function that makes a row's line and completes its destination.

    With exact columns, the filled columns are a part of the destination.
    """
    if rules.request is RequestForm.PARAMS:
        return _parameters(rules)
    # The identity is the second cell: every column but the first is one place further than in the
    # table, and the first isn't JSON.
    json_cells = tuple(
        index + 1 for index, column in enumerate(rules.resource.columns) if column.kind in QUOTED
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


def special_quoted(cells: Sequence[str]) -> str:
    """The cells of a line, joined, each in quotes that must be."""
    return ",".join([cell if is_plain(cell) else quoted(cell) for cell in cells])


def comma_quoted(cells: Sequence[str]) -> str:
    """As `special_quoted`, for cells of which some have a comma and none a quote or a line end.

    Mostly a single cell has a comma, so the cells are not checked one by one: half of the cost.
    """
    text = "\n".join(cells)
    at = text.find(",")
    while at >= 0:
        start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        end = end if end >= 0 else len(text)
        text = f'{text[:start]}"{text[start:end]}"{text[end:]}'
        at = text.find(",", end + len('""'))
    return text.replace("\n", ",")


def texts_of(cells: Sequence[str | int | None]) -> list[str]:
    """The cells as texts: a null is absent, an integer its digits."""
    return ["" if cell is None else str(cell) for cell in cells]


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


def _is_cut(cell: str) -> bool:
    """Whether the API cuts this payload; the number of characters spares encoding short ones."""
    return len(cell) * 4 > PAYLOAD_BYTES_MAX and len(cell.encode()) > PAYLOAD_BYTES_MAX


def _is_too_precise(cell: str) -> bool:
    """Whether a decimal has more digits after the point than the API states."""
    fraction = cell.partition(".")[2]
    return len(fraction) > DECIMAL_FRACTION_DIGITS_MAX and bool(
        fraction[DECIMAL_FRACTION_DIGITS_MAX:].strip("0")
    )


# Limits of the API that don't make a row invalid: the test for a cell beyond the limit, and the
# change that is counted.
_LIMITS = {
    Kind.JSON_OBJECT: (_is_cut, CUT),
    Kind.DECIMAL: (_is_too_precise, PRECISION),
}

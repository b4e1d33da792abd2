"""How a row is written: as a CSV line of all columns, as one of those that it fills, or as a query
string.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.core.intake import query_line
from worker.core.intake.csv_line import encode
from worker.core.intake.rules import ColumnChoice, IntakeRules
from worker.core.model.batch import RequestForm
from worker.core.model.row import Destination
from worker.core.post_api.column import RAW_KINDS, Kind

# Cells may be changed: nobody needs them afterwards.
Write = Callable[[Destination, list[str]], tuple[Destination, bytes]]

# A decimal is raw text too, but never holds what needs quotes.
_QUOTED = RAW_KINDS - {Kind.DECIMAL, Kind.ARRAY}


def writer(rules: IntakeRules) -> Write:
    """What makes a row's line, and the destination that it belongs to: with `exact`, its columns
    are part of that.
    """
    if rules.request is RequestForm.PARAMS:
        return _parameters(rules)
    # The identity stands second: every column but the first stands one further than in the table,
    # and that one is no JSON.
    json_cells = tuple(
        index + 1 for index, column in enumerate(rules.resource.columns) if column.kind in _QUOTED
    )
    return _exact(json_cells) if rules.columns is ColumnChoice.EXACT else _all(json_cells)


def _all(json_cells: tuple[int, ...]) -> Write:
    def write(destination: Destination, cells: list[str]) -> tuple[Destination, bytes]:
        return destination, encode(cells, json_cells)

    return write


def _exact(json_cells: tuple[int, ...]) -> Write:
    def write(destination: Destination, cells: list[str]) -> tuple[Destination, bytes]:
        filled = [index for index, cell in enumerate(cells) if cell]
        mask = sum(1 << index for index in filled)
        quoted = tuple(place for place, index in enumerate(filled) if index in json_cells)
        return destination._replace(filled=mask), encode([cells[index] for index in filled], quoted)

    return write


def _parameters(rules: IntakeRules) -> Write:
    def write(destination: Destination, cells: list[str]) -> tuple[Destination, bytes]:
        return destination, query_line.encode(rules.resource.header(destination.identity), cells)

    return write

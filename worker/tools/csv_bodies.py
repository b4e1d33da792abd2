"""CSV bodies of the Post API: the names of their files, and the cells that only the worker accepts.

A producer's record may write a value in several ways, and the worker writes it as the API takes
it: an exponent becomes digits, `[]` an object, an IPv4 address an IPv6 address. A CSV body is sent
as it is, so a cell must have the API's own form.

Source: the Post API's pages; `worker/sandbox/emulator/contract.py` checks cells independently.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import BinaryIO

import orjson

from worker.core.batching.batcher import header
from worker.core.intake.faults import found
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import Destination, Row
from worker.core.post_api.column import Kind
from worker.core.post_api.resource import RESOURCES

# The kinds for which the API takes one form. Integers may have leading zeros.
_ONE_FORM = frozenset({Kind.DECIMAL, Kind.JSON_OBJECT, Kind.ATTRIBUTES, Kind.IPV6})


def faults_of_cells(row: Row) -> tuple[FieldFault, ...]:
    """The cells of a CSV row that the worker would send in another form.

    Args:
        row: the row; the value of its record has the cells as the body has them.
    """
    given = orjson.loads(row.record.value or b"{}")
    names, cells = csv.reader(StringIO((header(row.destination) + row.line).decode(), newline=""))
    kinds = {column.name: column.kind for column in RESOURCES[row.destination.resource].columns}
    return tuple(
        _fault(name, found(cell)[1:-1], found(given[name]))
        for name, cell in zip(names, cells, strict=True)
        if kinds.get(name) in _ONE_FORM and name in given and given[name] != cell
    )


def _fault(name: str, expected: str, given: str) -> FieldFault:
    message = f"expected {expected} in a CSV body, found {given}"
    return FieldFault(Reason.OUT_OF_RANGE, name, message, expected, given)


def csv_name(destination: Destination, number: int) -> str:
    """The name of the file for the rows of a destination.

    With `columns: exact` a resource, application and identity have a file for each set of columns:
    `number` counts them.
    """
    name = f"{destination.resource}-{destination.application_id}-{destination.identity.value}"
    return f"{name}.csv" if number == 1 else f"{name}-{number}.csv"


class CsvFiles:
    """Files of request bodies: a file per destination. A context manager."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._files: dict[Destination, BinaryIO] = {}
        self._numbers: Counter[Destination] = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> CsvFiles:
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows; does nothing without a directory."""
        if self._directory is None:
            return
        for row in rows:
            file = self._files.get(row.destination) or self._open(self._directory, row.destination)
            file.write(row.line)

    def _open(self, directory: Path, destination: Destination) -> BinaryIO:
        any_columns = destination._replace(filled=0)
        self._numbers[any_columns] += 1
        name = csv_name(destination, self._numbers[any_columns])
        file = self._files[destination] = self._stack.enter_context((directory / name).open("wb"))
        file.write(header(destination))
        return file

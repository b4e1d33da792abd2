"""CSV bodies of the Post API: the names of their files, and the cells that only the worker accepts.

A producer's record may write a value in several ways, and the worker writes it as the API takes
it: an exponent becomes digits, `[]` an object, an IPv4 address an IPv6 address. A CSV body is sent
as it is, so a cell must have the API's own form.

Source: the Post API's pages; `worker/sandbox/emulator/contract.py` checks cells independently.
"""

from __future__ import annotations

import csv
from collections import Counter, OrderedDict
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import BinaryIO, Literal

import orjson

from worker.core.batching.batcher import header
from worker.core.intake.faults import found
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import Destination, Row
from worker.core.post_api.column import Kind
from worker.core.post_api.resource import RESOURCES

# A process may often have no more than 256 files; there may be more destinations.
FILES_OPEN_MAX = 100
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


class NotWritableError(Exception):
    """A directory or a file can't be created or opened; the message says which, and why."""


class CsvFiles:
    """Files of request bodies: a file per destination. A context manager."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._paths: dict[Destination, Path] = {}
        # The file that was written to last is at the end.
        self._open: OrderedDict[Destination, BinaryIO] = OrderedDict()
        self._numbers: Counter[Destination] = Counter()

    def __enter__(self) -> CsvFiles:
        """Create the directory.

        Raises:
            NotWritableError: it can't be created.
        """
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _not_writable(self._directory, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._close_oldest()

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows; does nothing without a directory.

        Raises:
            NotWritableError: a file can't be opened.
        """
        if self._directory is None:
            return
        for row in rows:
            self._file(self._directory, row.destination).write(row.line)

    def _file(self, directory: Path, destination: Destination) -> BinaryIO:
        file = self._open.get(destination)
        if file is not None:
            self._open.move_to_end(destination)
            return file
        if len(self._open) >= FILES_OPEN_MAX:
            self._close_oldest()
        path = self._paths.get(destination)
        if path is None:
            path = self._paths[destination] = directory / self._new_name(destination)
            file = self._open[destination] = _opened(path, "wb")
            file.write(header(destination))
        else:
            file = self._open[destination] = _opened(path, "ab")
        return file

    def _new_name(self, destination: Destination) -> str:
        any_columns = destination._replace(filled=0)
        self._numbers[any_columns] += 1
        return csv_name(destination, self._numbers[any_columns])

    def _close_oldest(self) -> None:
        _, file = self._open.popitem(last=False)
        file.close()


def _opened(path: Path, mode: Literal["wb", "ab"]) -> BinaryIO:
    try:
        return path.open(mode)
    except OSError as error:
        raise _not_writable(path, error) from None


def _not_writable(path: Path, error: OSError) -> NotWritableError:
    return NotWritableError(f"{path} can't be written: {error.strerror}")

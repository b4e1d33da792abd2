"""The subject of a row (the profile or device that it names), and which row comes first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from worker.core.delivery.request_history import Lane
from worker.core.model.batch import Batch
from worker.core.model.record import Assignment
from worker.core.model.row import Row

Subject = tuple[str, bytes]
# Rows of the same series have an order: that of their offsets.
Series = tuple[Lane, Assignment, Subject]


def subject_of(row: Row) -> Subject:
    """The profile or device of a row, read from its line: a CSV line or a query string."""
    kind = row.destination.identity.value
    # The identity follows the application, in both forms of a line.
    if row.line.startswith(b"application_id="):
        return kind, row.line.split(b"&", 2)[1]
    cell = row.line.partition(b",")[2]
    if not cell.startswith(b'"'):
        return kind, cell.partition(b",")[0]
    end = cell.index(b'"', 1)
    while cell[end + 1 : end + 2] == b'"':
        end = cell.index(b'"', end + 2)
    return kind, cell[: end + 1]


def _series_of(row: Row) -> Series:
    resource, application_id, _, _ = row.destination
    return (resource, application_id), row.assignment, subject_of(row)


def is_newer_than(batches: Sequence[Batch]) -> Callable[[Row], bool]:
    """The test for rows that come after a row of these batches in their partition and subject."""
    rows = [row for batch in batches for row in batch.rows]
    oldest: dict[Series, int] = {}
    for row in rows:
        series, offset = _series_of(row), row.record.offset
        oldest[series] = min(offset, oldest.get(series, offset))
    assignments = {row.assignment for row in rows}
    return lambda row: (
        row.assignment in assignments and oldest.get(_series_of(row), math.inf) < row.record.offset
    )


def is_older_than(batch: Batch) -> Callable[[Row], bool]:
    """The test for rows that come before a row of this batch in their partition and subject."""
    newest: dict[Series, int] = {}
    for row in batch.rows:
        series, offset = _series_of(row), row.record.offset
        newest[series] = max(offset, newest.get(series, offset))
    return lambda row: newest.get(_series_of(row), -1) > row.record.offset


class LinkedRows:
    """The rows that are linked to a row in flight with the same key.

    Each may take that row's place and be sent, so newer rows of its subject wait until it is known
    whether it is.
    """

    def __init__(self) -> None:
        # Ascending: a partition's rows are received in order.
        self._offsets: dict[Series, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._offsets)

    def add(self, row: Row) -> None:
        """Let newer rows of its subject wait for this row."""
        self._offsets.setdefault(_series_of(row), []).append(row.record.offset)

    def remove(self, row: Row) -> None:
        """Let no row wait for this row any more."""
        series = _series_of(row)
        self._offsets[series].remove(row.record.offset)
        if not self._offsets[series]:
            del self._offsets[series]

    def precede(self, row: Row) -> bool:
        """True if this row waits for an older row of its subject."""
        offsets = self._offsets.get(_series_of(row))
        return offsets is not None and offsets[0] < row.record.offset

"""Smaller batches out of a larger one.

A piece has an id of its own: a batch id always stands for the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.core.model.batch import Batch
from worker.core.model.row import Destination, Row

JOINED_ROWS_MAX = 1000


def piece(batch: Batch, rows: tuple[Row, ...], name: str) -> Batch:
    """A batch of some of this batch's rows, their lines as they are: nothing is encoded again."""
    body_bytes = len(batch.header) + sum(len(row.line) for row in rows)
    return Batch(f"{batch.id}.{name}", batch.destination, batch.header, rows, body_bytes)


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of a batch of at least two rows, the first the larger where the
    count is odd.
    """
    if len(batch.rows) < 2:
        raise ValueError(f"batch {batch.id} has a single row and can't be halved")
    middle = (len(batch.rows) + 1) // 2
    return piece(batch, batch.rows[:middle], "0"), piece(batch, batch.rows[middle:], "1")


def first_rows_apart(batch: Batch, rows: int) -> tuple[Batch, Batch]:
    """So many rows of a batch that has more, its first ones, and the others."""
    if not 0 < rows < len(batch.rows):
        raise ValueError(
            f"batch {batch.id} has {len(batch.rows)} rows, and {rows} of them can't be taken apart"
        )
    return piece(batch, batch.rows[:rows], "first"), piece(batch, batch.rows[rows:], "rest")


def joined(batches: Sequence[Batch], name: str) -> list[Batch]:
    """The rows of these batches in as few as may be: of one destination each, and of no more than
    JOINED_ROWS_MAX rows.
    """
    alike: dict[Destination, list[Batch]] = {}
    for batch in batches:
        alike.setdefault(batch.destination, []).append(batch)
    return [
        piece(mine[0], rows[start : start + JOINED_ROWS_MAX], f"{name}{start or ''}")
        for mine in alike.values()
        for rows in [tuple(row for batch in mine for row in batch.rows)]
        for start in range(0, len(rows), JOINED_ROWS_MAX)
    ]


def without(
    batch: Batch, is_out: Callable[[Row], bool], name: str
) -> tuple[Batch | None, tuple[Row, ...]]:
    """The batch without some of its rows, and those rows.

    The batch itself if none goes, None if all go.
    """
    out = tuple([row for row in batch.rows if is_out(row)])
    if not out:
        return batch, ()
    if len(out) == len(batch.rows):
        return None, out
    kept = tuple([row for row in batch.rows if not is_out(row)])
    return piece(batch, kept, name), out

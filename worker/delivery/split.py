"""Smaller batches out of a larger one. A piece has an id of its own: a batch id always stands for the same bytes."""

from __future__ import annotations

from collections.abc import Callable

from worker.model.batch import Batch
from worker.model.row import Row


def piece(batch: Batch, rows: tuple[Row, ...], name: str) -> Batch:
    """A batch of some of this batch's rows, their lines as they are: nothing is encoded again."""
    body_bytes = len(batch.header) + sum(len(row.line) for row in rows)
    return Batch(f"{batch.id}.{name}", batch.destination, batch.header, rows, body_bytes)


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of a batch of at least two rows, the first the larger where the count is odd."""
    if len(batch.rows) < 2:
        raise ValueError(f"batch {batch.id} has a single row and can't be halved")
    middle = (len(batch.rows) + 1) // 2
    return piece(batch, batch.rows[:middle], "0"), piece(batch, batch.rows[middle:], "1")


def first_row_apart(batch: Batch) -> tuple[Batch, Batch]:
    """The first row of a batch of at least two rows, and the others."""
    if len(batch.rows) < 2:
        raise ValueError(f"batch {batch.id} has a single row, and no others")
    return piece(batch, batch.rows[:1], "first"), piece(batch, batch.rows[1:], "rest")


def without(batch: Batch, is_out: Callable[[Row], bool], name: str) -> tuple[Batch | None, tuple[Row, ...]]:
    """The batch without some of its rows, and those rows. The batch itself if none goes, None if all go."""
    out = tuple(row for row in batch.rows if is_out(row))
    if not out:
        return batch, ()
    kept = tuple(row for row in batch.rows if not is_out(row))
    return (piece(batch, kept, name) if kept else None), out

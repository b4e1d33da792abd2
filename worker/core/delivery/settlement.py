"""The results of a batch: rows that leave the delivery, and smaller batches in its place.

A smaller batch has an id of its own, because a batch id always stands for the same bytes. The rows
keep their lines: no row is encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worker.core.delivery.outcome import Outcome
from worker.core.model.answer import Answer, Response
from worker.core.model.batch import Batch
from worker.core.model.command import WriteLog
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.record import Assignment
from worker.core.model.row import Destination, Row

JOINED_ROWS_MAX = 1000


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that can't be delivered, and why.

    `http_status` is None where the fault is known without a request.
    """

    row: Row
    fault: FieldFault
    http_status: int | None


@dataclass(slots=True)
class Settlement:
    """The rows that one step has taken out of the delivery, and what is to be logged.

    Rows of `delivered` were answered 200; `refused` go to the dead-letter topic; `parked` go to the
    parking topic; `returned` stay uncommitted for the next owner of their partitions. Rows that
    wait are in none of them; `waits_for_time` is true if some wait until the clock is vouched for.
    The dispatcher fills it during the step and keeps no part of it.
    """

    delivered: list[Batch] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    returned: list[Row] = field(default_factory=list)
    parked: list[Row] = field(default_factory=list)
    waits_for_time: bool = False
    logs: list[WriteLog] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """The result of `Dispatcher.answer`: the batch, the outcome of its request, and rows that left.

    `needs_records`: partitions whose waiting rows can't be decided on before other rows of their
    application are accepted, and none are here: records have to be received for that.
    """

    batch: Batch
    outcome: Outcome
    settlement: Settlement
    needs_records: frozenset[Assignment]


# --- rows that leave ------------------------------------------------------------------------------


def expired(row: Row, earliest: int) -> RefusedRow:
    """This row's event became too old while it waited; `earliest` is the oldest accepted time."""
    message = (
        f"{row.event_timestamp} became too old while it waited; the oldest accepted time "
        f"is {earliest}"
    )
    return RefusedRow(row, FieldFault(Reason.TOO_OLD, "event_timestamp", message), None)


def refused_by_api(batch: Batch, status: int, answer: Answer) -> RefusedRow:
    """The first row of this batch was refused: meant for a batch of one row."""
    reason = Reason.TOO_LARGE_FOR_API if status == 413 else Reason.REFUSED
    return RefusedRow(batch.rows[0], FieldFault(reason, "", _text_of(answer)), status)


def failed_alone(batch: Batch, lone_failures: int, answer: Answer) -> RefusedRow:
    """The only row of this batch failed this often while others of its application succeeded."""
    message = (
        f"{_text_of(answer)}, {lone_failures} times, while other rows of its application were "
        "accepted"
    )
    status = answer.status if isinstance(answer, Response) else None
    return RefusedRow(batch.rows[0], FieldFault(Reason.FAILS_ALONE, "", message), status)


def _text_of(answer: Answer) -> str:
    if not isinstance(answer, Response):
        return f"the API gave no answer ({answer.fault.value})"
    return f"the API answered {answer.status}" + (f": {answer.excerpt}" if answer.excerpt else "")


# --- smaller batches ------------------------------------------------------------------------------


def piece(batch: Batch, rows: tuple[Row, ...], name: str) -> Batch:
    """A batch of some of this batch's rows."""
    return Batch.of(f"{batch.id}.{name}", batch.destination, batch.header, rows)


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The two halves of a batch of at least two rows; the first is the larger of an odd count."""
    if len(batch.rows) < 2:
        raise ValueError(f"batch {batch.id} has a single row and can't be halved")
    middle = (len(batch.rows) + 1) // 2
    return piece(batch, batch.rows[:middle], "0"), piece(batch, batch.rows[middle:], "1")


def first_rows_apart(batch: Batch, rows: int) -> tuple[Batch, Batch]:
    """The first `rows` rows of a batch that has more, and the others."""
    if not 0 < rows < len(batch.rows):
        raise ValueError(
            f"batch {batch.id} has {len(batch.rows)} rows, and {rows} of them can't be taken apart"
        )
    return piece(batch, batch.rows[:rows], "first"), piece(batch, batch.rows[rows:], "rest")


def joined(batches: Sequence[Batch], name: str) -> list[Batch]:
    """The rows of these batches in as few batches as possible.

    Each has one destination and at most JOINED_ROWS_MAX rows.
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

    The batch itself if none leaves, None if all leave.
    """
    out = tuple([row for row in batch.rows if is_out(row)])
    if not out:
        return batch, ()
    if len(out) == len(batch.rows):
        return None, out
    kept = tuple([row for row in batch.rows if not is_out(row)])
    return piece(batch, kept, name), out

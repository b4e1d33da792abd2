"""What came of a step of the delivery: which rows are done for, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.core.delivery.outcome import Outcome
from worker.core.model.answer import Answer, Response
from worker.core.model.batch import Batch
from worker.core.model.command import Log
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.record import Assignment
from worker.core.model.row import Row


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that can't be delivered, and why.

    `http_status` is None where no request was needed to know it.
    """

    row: Row
    fault: FieldFault
    http_status: int | None


@dataclass(slots=True)
class Settlement:
    """The rows that one step has taken out of the delivery.

    `delivered` were answered 200; `refused` go to the dead-letter topic; `returned` stay
    uncommitted for the next owner of their partitions. Rows that wait are in none of these;
    `waits_for_time` is true if some wait until the clock is vouched for. Where the step was an
    answer, `batch` is what it answered and `outcome` what it means; `lonely` are partitions whose
    rows wait, and need others to be taken before they can be judged.
    """

    batch: Batch | None = None
    outcome: Outcome | None = None
    delivered: list[Row] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    returned: list[Row] = field(default_factory=list)
    parked: list[Row] = field(default_factory=list)
    waits_for_time: bool = False
    lonely: set[Assignment] = field(default_factory=set)
    logs: list[Log] = field(default_factory=list)


def expiry_of(row: Row, earliest: int) -> Refusal:
    """This row's event has grown too old while it waited; `earliest` is the time of the oldest that
    is taken.
    """
    message = (
        f"{row.event_timestamp} became too old while it waited; the oldest accepted time "
        f"is {earliest}"
    )
    return Refusal(row, FieldFault(Reason.TOO_OLD, "event_timestamp", message), None)


def refusal_of(batch: Batch, status: int, answer: Answer) -> Refusal:
    """What a refusal says of the batch's first row: meant for a batch of one."""
    reason = Reason.TOO_LARGE_FOR_API if status == 413 else Reason.REFUSED
    return Refusal(batch.rows[0], FieldFault(reason, "", _what_came(answer)), status)


def failure_of(batch: Batch, strikes: int, answer: Answer) -> Refusal:
    """The only row of this batch fails alone: so often, and each time others of its application
    were taken.
    """
    message = (
        f"{_what_came(answer)}, {strikes} times, while other rows of its application were accepted"
    )
    status = answer.status if isinstance(answer, Response) else None
    return Refusal(batch.rows[0], FieldFault(Reason.FAILS_ALONE, "", message), status)


def _what_came(answer: Answer) -> str:
    if not isinstance(answer, Response):
        return f"the API gave no answer ({answer.fault.value})"
    return f"the API answered {answer.status}" + (f": {answer.excerpt}" if answer.excerpt else "")

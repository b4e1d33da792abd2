"""What came of a step of the delivery: which rows are done for, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.delivery.outcome import Outcome
from worker.model.answer import Answer, Response
from worker.model.batch import Batch
from worker.model.command import Log
from worker.model.fault import FieldFault, Reason
from worker.model.row import Row


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that can't be delivered, and why. `http_status` is None where no request was needed to know it."""

    row: Row
    fault: FieldFault
    http_status: int | None


@dataclass(slots=True)
class Settlement:
    """The rows that one step has taken out of the delivery.

    `delivered` were answered 200; `refused` go to the dead-letter topic; `returned` stay uncommitted for the next owner of
    their partitions. Rows that wait are in none of these. Where the step was an answer, `batch` is what it answered and
    `outcome` what it means.
    """

    batch: Batch | None = None
    outcome: Outcome | None = None
    delivered: list[Row] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    returned: list[Row] = field(default_factory=list)
    parked: list[Row] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)


def refusal(batch: Batch, status: int, answer: Answer) -> Refusal:
    """What a refusal says of the batch's first row: meant for a batch of one."""
    reason = Reason.TOO_LARGE_FOR_API if status == 413 else Reason.REFUSED
    excerpt = answer.excerpt if isinstance(answer, Response) else ""
    message = f"the API answered {status}" + (f": {excerpt}" if excerpt else "")
    return Refusal(batch.rows[0], FieldFault(reason, "", message), status)

"""The last events and commands of the pipeline, for a person who examines a stuck worker.

A step is remembered as names and numbers: no value of a record, no key, no answer's text. There is
a step per chunk, batch, answer and commit, not per record.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from worker.core.model import command, event
from worker.core.model.answer import Answer, Response
from worker.core.model.clock import Now
from worker.core.model.command import Command
from worker.core.model.event import Event
from worker.core.model.record import Assignment

STEPS_MAX = 200
# A detail is a broker's or a library's text.
DETAIL_CHARACTERS_MAX = 200

Fields = dict[str, object]


def _partitions(assignments: Collection[Assignment]) -> Fields:
    if len(assignments) == 1:
        return {"partition": next(iter(assignments))}
    return {"partitions": len(assignments)}


def _answer(answer: Answer) -> Fields:
    # Not the excerpt of the body: an API may repeat what was sent.
    result = (
        {"status": answer.status} if isinstance(answer, Response) else {"fault": answer.fault.value}
    )
    return {**result, "seconds": round(answer.duration_seconds, 3)}


def _failed(step: event.DeadLettersFailed | event.ParkingFailed) -> Fields:
    return {"records": step.count, "detail": step.detail[:DETAIL_CHARACTERS_MAX]}


# By class, and not by `match`: the table is looked up for each chunk and each answer.
_FIELDS: Mapping[type, Callable[[Any], Fields]] = {
    event.Received: lambda step: {
        "partition": step.assignment,
        "records": len(step.records),
        "next_offset": step.next_offset,
    },
    event.Assigned: lambda step: _partitions([start.assignment for start in step.starts]),
    event.TailRead: lambda step: {
        "partition": step.start.assignment,
        "records": len(step.records),
    },
    event.Revoked: lambda step: _partitions(step.assignments),
    event.Distributed: lambda step: {"partitions": len(step.partitions)},
    event.Lost: lambda step: _partitions(step.assignments),
    event.Answered: lambda step: {"batch_id": step.batch_id, **_answer(step.answer)},
    event.ApiTimeRead: lambda step: _answer(step.answer),
    event.DeadLettersAcknowledged: lambda step: {"records": len(step.rejections)},
    event.DeadLettersFailed: _failed,
    event.ParkingAcknowledged: lambda step: {"records": len(step.rows)},
    event.ParkingFailed: _failed,
    event.Committed: lambda step: {
        **_partitions(step.positions),
        "seconds": round(step.duration_seconds, 3),
    },
    event.CommitFailed: lambda step: {
        **_partitions(step.positions),
        "seconds": round(step.duration_seconds, 3),
        "detail": step.detail[:DETAIL_CHARACTERS_MAX],
    },
    event.OffsetsSkipped: lambda step: {"partition": step.assignment, "offsets": step.count},
    event.LogTruncated: lambda step: {
        "partition": step.assignment,
        "position": step.position,
        "resumed_at": step.resumed_at,
    },
    event.KeyChanged: lambda step: {"application_id": step.application_id},
    event.StopRequested: lambda _: {},
    command.Post: lambda step: {
        "batch_id": step.batch.id,
        "application_id": step.batch.destination.application_id,
        "resource": step.batch.destination.resource,
        "rows": len(step.batch.rows),
        "bytes": step.batch.body_bytes,
    },
    command.AskTime: lambda _: {},
    command.WriteDeadLetters: lambda step: {"records": len(step.rejections)},
    command.WriteParked: lambda step: {"records": len(step.rows)},
    command.Commit: lambda step: _partitions(step.positions),
    command.Pause: lambda step: _partitions(step.assignments),
    command.Resume: lambda step: _partitions(step.assignments),
    command.Release: lambda step: _partitions(step.assignments),
    command.StopIntake: lambda _: {},
    command.Finish: lambda step: {
        "unsettled_records": step.unsettled,
        "uncommitted_records": step.uncommitted,
    },
    command.WriteLog: lambda step: {"code": step.event},
}
_KINDS = {kind: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower() for kind in _FIELDS}


class Trail:
    """Remembers the last `STEPS_MAX` events and commands of the pipeline."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, Fields]] = deque(maxlen=STEPS_MAX)

    def note(self, step: Event | Command, now: Now) -> None:
        """Remember an event that is handled, or a command that is executed, at this moment.

        `TimePassed` is no step: it is only the clock, several times a second.
        """
        kind = type(step)
        self._steps.append((now.unix_seconds, {"kind": _KINDS[kind], **_FIELDS[kind](step)}))

    def steps(self) -> list[Fields]:
        """Return the steps, the last one last: its time in Unix seconds, its kind, its numbers."""
        return [
            {"unix_seconds": round(moment, 3), **_shown(fields)}
            for moment, fields in tuple(self._steps)
        ]

    def latest(self) -> Fields:
        """Return the kind of the last step and its numbers, for a log line."""
        return _shown(self._steps[-1][1])


def _shown(fields: Fields) -> Fields:
    # The text of a partition is made only when the steps are read.
    return {
        name: str(value) if isinstance(value, Assignment) else value
        for name, value in fields.items()
    }

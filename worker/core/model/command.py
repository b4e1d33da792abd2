"""The commands that the pipeline returns and the runner executes: imperatives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.core.model.batch import Batch
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Position
from worker.core.model.row import Row


@dataclass(frozen=True, slots=True)
class Post:
    """Send this batch; the result comes back as `Answered`.

    `time_factor` multiplies the ordinary time limit of the request.
    """

    batch: Batch
    time_factor: int = 1


@dataclass(frozen=True, slots=True)
class WriteDeadLetters:
    """Write these records to the dead-letter topic, and retry until it acknowledges them.

    The acknowledgement comes back as `DeadLettersAcknowledged`.
    """

    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class WriteParked:
    """Write the records of these rows to the parking topic, and retry until it acknowledges them.

    The acknowledgement comes back as `ParkingAcknowledged`.
    """

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit these positions; the result comes back as `Committed` or `CommitFailed`."""

    positions: dict[Assignment, Position]


@dataclass(frozen=True, slots=True)
class AskTime:
    """Ask the API for its time, without a key and without an event.

    The end comes back as `ApiTimeRead`.
    """


@dataclass(frozen=True, slots=True)
class Pause:
    """Receive no records of these assignments until `Resume`."""

    assignments: frozenset[Assignment]


@dataclass(frozen=True, slots=True)
class Resume:
    """Receive records of these assignments again."""

    assignments: frozenset[Assignment]


@dataclass(frozen=True, slots=True)
class Release:
    """Let the rebalance continue: the partitions of a `Revoked` are drained and fenced."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class StopIntake:
    """Receive no more records of any partition until the process ends."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the process: unsettled records are left to the next owners of the partitions.

    `unsettled` is the number of received records that aren't settled, `uncommitted` the number of
    offsets between the committed positions and the settled ones.
    """

    unsettled: int
    uncommitted: int


class Severity(StrEnum):
    """The level of a log line, by its consequence.

    From a warning the worker recovers by itself; an error needs attention.
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class WriteLog:
    """Write a log line. `event` is its stable name in snake_case, `fields` are its data."""

    severity: Severity
    event: str
    fields: dict[str, str | int | float]


Command = (
    Post
    | AskTime
    | WriteDeadLetters
    | WriteParked
    | Commit
    | Pause
    | Resume
    | Release
    | StopIntake
    | Finish
    | WriteLog
)

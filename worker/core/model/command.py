"""The commands that the pipeline returns and the shell carries out: imperatives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.core.model.batch import Batch
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Position
from worker.core.model.row import Row


@dataclass(frozen=True, slots=True)
class Post:
    """Send this batch; its end comes back as `Answered`.

    `time_factor`: how many times the ordinary limit the request may take.
    """

    batch: Batch
    time_factor: int = 1


@dataclass(frozen=True, slots=True)
class WriteDeadLetters:
    """Write these records to the dead-letter topic, for as long as it takes.

    The end comes back as `DeadLettersAcknowledged`.
    """

    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class WriteParked:
    """Write the records of these rows to the parking topic, for as long as it takes.

    The end comes back as `ParkingAcknowledged`.
    """

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit these positions; the end comes back as `Committed` or `CommitFailed`."""

    positions: dict[Assignment, Position]


@dataclass(frozen=True, slots=True)
class AskTime:
    """Ask the API for its time, without a key and without an event.

    The end comes back as `ApiTimeRead`.
    """


@dataclass(frozen=True, slots=True)
class Pause:
    """Receive nothing of these until `Resume`."""

    assignments: frozenset[Assignment]


@dataclass(frozen=True, slots=True)
class Resume:
    """Receive of these again."""

    assignments: frozenset[Assignment]


@dataclass(frozen=True, slots=True)
class Release:
    """The partitions of a `Revoked` are drained and fenced: the rebalance may go on."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class StopIntake:
    """Receive nothing more, of any partition, for good."""


@dataclass(frozen=True, slots=True)
class Finish:
    """All that can be done is done; the rest is left to the next owner of the partitions.

    `unsettled` is how many received records aren't settled, `uncommitted` by how many offsets the
    committed positions lie behind what is settled.
    """

    unsettled: int
    uncommitted: int


class Severity(StrEnum):
    """The level of a log line, by its consequence.

    A warning recovers by itself, an error needs a person.
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class WriteLog:
    """Say this. `event` is a stable snake_case name, `fields` what a machine may want to read."""

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

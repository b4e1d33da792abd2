"""What happens to the worker: the events that the shell hands to the pipeline. Past participles,
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from worker.core.model.answer import Answer
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Place, Position, Record, Start, TopicPartition
from worker.core.model.row import Row


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions became ours. Records of these assignments may follow from now on."""

    starts: tuple[Start, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A chunk of one partition, in offset order, possibly empty.

    `next_offset` is the position after it: above the last record's offset where transaction markers
    follow.
    """

    assignment: Assignment
    records: Sequence[Record]
    next_offset: int


@dataclass(frozen=True, slots=True)
class TailRead:
    """Records that an earlier owner of a partition has received. Those that it settled are to be
    remembered, not worked on.

    `start` is where the partition will start: what is committed there tells which are settled; its
    assignment has no epoch yet. `refused` and `parked` are the places, by origin, of records that
    were not delivered, of whatever partition.
    """

    start: Start
    records: Sequence[Record]
    refused: Set[Place]
    parked: Set[Place]


@dataclass(frozen=True, slots=True)
class Revoked:
    """The group takes partitions away; the rebalance waits for `Release`, until `deadline_seconds`
    (monotonic).
    """

    assignments: tuple[Assignment, ...]
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Distributed:
    """The group has given us these partitions, and all others to other members.

    Each begins with `Assigned`.
    """

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class Lost:
    """Partitions are someone else's already: nothing of them may be committed."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A post ended, one way or another."""

    batch_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class ApiTimeRead:
    """The API was asked for its time, and this came of it."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class DeadLettersAcknowledged:
    """The dead-letter topic has these for good."""

    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class DeadLettersFailed:
    """An attempt to write dead letters failed; the edge keeps trying. `detail` says why."""

    count: int
    detail: str


@dataclass(frozen=True, slots=True)
class ParkingAcknowledged:
    """The parking topic has the records of these rows for good."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ParkingFailed:
    """An attempt to park records failed; the edge keeps trying. `detail` says why."""

    count: int
    detail: str


@dataclass(frozen=True, slots=True)
class Committed:
    """The broker has acknowledged these positions."""

    positions: dict[Assignment, Position]
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """A commit was refused or not answered in time; the positions stay uncommitted and are offered
    again.

    `too_large` are those of the positions whose metadata the broker finds too large.
    """

    positions: dict[Assignment, Position]
    detail: str
    duration_seconds: float
    too_large: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """An application has another Post API key."""

    application_id: int


@dataclass(frozen=True, slots=True)
class OffsetsSkipped:
    """The broker no longer had (or never had) the offset we asked for, and reading goes on
    elsewhere.

    `count` is how many offsets were passed over, 0 where the new position is below the old one.
    """

    assignment: Assignment
    count: int


@dataclass(frozen=True, slots=True)
class LogTruncated:
    """The brokers have lost the end of a partition's log, and with it records that were read;
    reading goes on at `resumed_at`.

    `position` is what would have been read next. Where `is_exact`, all that was written behind
    `resumed_at` is received; else what was written into the lost range before `resumed_at` is
    passed over.
    """

    assignment: Assignment
    position: int
    resumed_at: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The process is asked to end; everything must be over by `deadline_seconds` (monotonic)."""

    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing happened until the pipeline's next deadline."""


Event = (
    Assigned
    | Received
    | TailRead
    | Revoked
    | Distributed
    | Lost
    | Answered
    | ApiTimeRead
    | DeadLettersAcknowledged
    | DeadLettersFailed
    | ParkingAcknowledged
    | ParkingFailed
    | Committed
    | CommitFailed
    | OffsetsSkipped
    | LogTruncated
    | KeyChanged
    | StopRequested
    | TimePassed
)

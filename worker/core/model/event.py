"""The events that the runner hands to the pipeline: past participles."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from worker.core.model.answer import Answer
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Place, Position, Record, Start, TopicPartition
from worker.core.model.row import Row


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions were assigned to this worker; their records follow."""

    starts: tuple[Start, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A chunk of one partition, in offset order, possibly empty.

    `next_offset` is the position after the chunk: beyond the offset after its last record where
    transaction markers follow.
    """

    assignment: Assignment
    records: Sequence[Record]
    next_offset: int


@dataclass(frozen=True, slots=True)
class TailRead:
    """The newest records below a partition's start were read again, to rebuild the window.

    Settled records are put into the window; no record is processed.

    `start` is the start of the partition, with an assignment that has no epoch yet; its commit
    metadata names the settled records. `refused` and `parked` are the places, by origin, of records
    of any partition that were not delivered; of records written before `named_from_milliseconds`
    (Unix) it is not known.
    """

    start: Start
    records: Sequence[Record]
    refused: Set[Place]
    parked: Set[Place]
    named_from_milliseconds: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """The group takes partitions away.

    The rebalance waits for `Release`, until `deadline_seconds` (monotonic).
    """

    assignments: tuple[Assignment, ...]
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Distributed:
    """The group has assigned these partitions to this worker, and all others to other members.

    Each begins with `Assigned`.
    """

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class Lost:
    """Partitions have another owner already: nothing may be committed for them."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request ended, with an answer or without."""

    batch_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class ApiTimeRead:
    """The request for the API's time ended."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class DeadLettersAcknowledged:
    """The dead-letter topic has acknowledged these records."""

    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class DeadLettersFailed:
    """An attempt to write dead letters failed; the edge retries. `detail` is the cause."""

    count: int
    detail: str


@dataclass(frozen=True, slots=True)
class ParkingAcknowledged:
    """The parking topic has acknowledged the records of these rows."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ParkingFailed:
    """An attempt to park records failed; the edge retries. `detail` is the cause."""

    count: int
    detail: str


@dataclass(frozen=True, slots=True)
class Committed:
    """The broker has acknowledged these positions."""

    positions: dict[Assignment, Position]
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """A commit was refused or not answered in time; its positions are committed again.

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
    """The broker didn't have the requested offset, and reading continues at another offset.

    `count` is how many offsets were passed over, 0 where the new position is below the old one.
    """

    assignment: Assignment
    count: int


@dataclass(frozen=True, slots=True)
class LogTruncated:
    """The brokers have lost the end of a partition's log, with records that were read.

    Reading continues at `resumed_at`.

    `position` is the offset that would have been read next. If `is_exact`, all records that were
    written after the cut are received. Otherwise records that were written into the lost range
    before `resumed_at` are skipped.
    """

    assignment: Assignment
    position: int
    resumed_at: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The process has to end; everything must be done by `deadline_seconds` (monotonic)."""

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

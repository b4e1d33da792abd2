"""What Kafka delivers: records, and the assignments under which they are received."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """A partition of a topic, whoever holds it."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Assignment(NamedTuple):
    """A partition for as long as it is ours without a break: one epoch.

    A partition that is revoked and comes back comes back as another assignment, so an answer that
    arrives late for the old one can't touch the new one. `epoch` counts up over all partitions of
    one process and is never used twice.
    """

    topic: str
    partition: int
    epoch: int

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} (epoch {self.epoch})"


class AssignmentState(Enum):
    """What may still be done for the rows of an assignment.

    ASSIGNED: everything. DRAINING: rows that wait are given back. AWAITING_ANSWERS: nothing more is
    sent. RELEASED: nothing may be done.
    """

    ASSIGNED = auto()
    DRAINING = auto()
    AWAITING_ANSWERS = auto()
    RELEASED = auto()


StateOf = Callable[[Assignment], AssignmentState]

# The epoch of a record that is only read again: it belongs to no assignment.
NO_EPOCH = 0


class Record(Protocol):
    """One record as received.

    The Kafka client's own object fits, so that nothing is copied per record.

    `timestamp` is in Unix milliseconds. A record without a time has -1, and some producers write 0:
    only a value above 0 is a time. A header's value may be null, like a record's.
    """

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class SkipReason(StrEnum):
    """Why a record is no event of its route: in metrics, `/status` and the documentation alike."""

    NOT_SELECTED = "not_selected"
    TOMBSTONE = "tombstone"


class Skipped(NamedTuple):
    """A record that its route doesn't read: it is settled and counted, and nothing else."""

    record: Record
    reason: SkipReason


class Position(NamedTuple):
    """What a commit says of a partition: the offset to go on from, and a text beside it."""

    offset: int
    metadata: str = ""


class End(NamedTuple):
    """Where a partition ended at a time, in offsets.

    `stable` is the offset after the last record that may be read: behind it stand records of a
    transaction that is still open, and whatever was written after its first record. `written` is
    the offset after the last record.
    """

    stable: int
    written: int
    unix_seconds: float

    @property
    def behind_transaction(self) -> int:
        """How many offsets wait for the end of a transaction."""
        return max(0, self.written - self.stable)


@dataclass(frozen=True, slots=True)
class Start:
    """Where an assignment starts to read.

    `position` is the first offset to be received; `committed` what the group has committed, None
    where there is nothing; `end` the offset after the last record that the partition has at this
    moment, None where it isn't known.
    """

    assignment: Assignment
    position: int
    committed: Position | None
    end: int | None = None


class Place(NamedTuple):
    """Where a record lies, or lay first."""

    topic: str
    partition: int
    offset: int

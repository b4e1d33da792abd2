"""Records of Kafka, and the assignments under which they are received."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """A partition of a topic, independent of its owner."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Assignment(NamedTuple):
    """A partition for the time in which this worker owns it without a break: one epoch.

    A partition that is revoked and assigned again is another assignment, so a late answer for the
    old assignment can't change the new one. `epoch` rises over all partitions of a process and is
    never used twice.
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
    """The state of an assignment, which limits the work on its rows.

    ASSIGNED: no limit. DRAINING: rows that wait are given back. AWAITING_ANSWERS: nothing more is
    sent. RELEASED: no work is allowed.
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
    """The reason for which a record is no event of its route, as metrics and `/status` name it."""

    NOT_SELECTED = "not_selected"
    TOMBSTONE = "tombstone"


class Skipped(NamedTuple):
    """A record that its route doesn't read: it is only settled and counted."""

    record: Record
    reason: SkipReason


class Position(NamedTuple):
    """The committed position of a partition: the next offset to read, and its metadata."""

    offset: int
    metadata: str = ""


class End(NamedTuple):
    """Where a partition ended at a time, in offsets.

    `stable` is the offset after the last record that may be read: the first record of an open
    transaction and all later records may not. `written` is the offset after the last record.
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
    """The start of an assignment.

    `position` is the first offset to be received; `committed` is the group's commit, None without
    a commit; `end` is the offset after the partition's last record at this moment, None if unknown.
    """

    assignment: Assignment
    position: int
    committed: Position | None
    end: int | None = None


class Place(NamedTuple):
    """The place of a record, or the place at which it was first received."""

    topic: str
    partition: int
    offset: int

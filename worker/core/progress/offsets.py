"""Every assignment's progress: standing, tracker, and what has been committed.

An assignment is known from `assign` until `remove`. An answer that comes for one that isn't known
finds nothing to settle: that is the fence that keeps a late answer from touching another epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

from worker.core.model.record import Assignment, AssignmentState, Position, Start, TopicPartition
from worker.core.progress.pressure import Reach
from worker.core.progress.tracker import Tracker
from worker.core.wire import commit_metadata

# A span that is wider than what can always be named shrinks when hints fill so much of their room,
# and grows again when they fill so little.
SHRINK_SHARE = 0.75
GROW_SHARE = 0.25
# However little a broker allows: a span must hold some batches.
SPAN_RECORDS_MIN = 500


class Left(NamedTuple):
    """How many received records aren't settled, and by how many offsets what is committed lies
    behind what is settled.
    """

    unsettled: int = 0
    uncommitted: int = 0

    def plus(self, other: Left) -> Left:
        """Both together."""
        return Left(self.unsettled + other.unsettled, self.uncommitted + other.uncommitted)


class Abandoned:
    """The partitions that went away with something left, for as long as they are nobody's."""

    def __init__(self) -> None:
        self._left: dict[TopicPartition, Left] = {}

    def note(self, partition: TopicPartition, left: Left) -> None:
        """This partition went away, and this was left of it."""
        if any(left):
            self._left[partition] = left

    def begin(self, partition: TopicPartition) -> None:
        """This partition is received of again, by us."""
        self._left.pop(partition, None)

    def keep_only(self, partitions: Set[TopicPartition]) -> None:
        """The group has given us these; all others have other owners."""
        self._left = {
            partition: left for partition, left in self._left.items() if partition in partitions
        }

    def total(self) -> Left:
        """All of it."""
        total = Left()
        for left in self._left.values():
            total = total.plus(left)
        return total


@dataclass(slots=True)
class _Progress:
    tracker: Tracker
    started_at: int
    committed: Position | None
    floor: int
    span_max: int
    state: AssignmentState = AssignmentState.ASSIGNED


class Offsets:
    """The partitions that are ours, each with its epoch.

    What is settled above a safe position travels in the commit's metadata, and what finds no room
    there is delivered again after a crash. So a partition reaches no further ahead than metadata
    can name, whatever is settled in whatever order. Who allows more (an outage is to fill the
    memory and not the span) accepts that some of it may find no room.

    Args:
        span_max: how far one partition may reach beyond its safe position, in offsets.
        chunk_records_max: how many records are received at once; a chunk that is being received
            comes on top of the span.
    """

    def __init__(self, span_max: int, chunk_records_max: int) -> None:
        self._span_wanted = span_max
        # Half of a chunk's offsets may be markers of transactions.
        self._chunk_span = 2 * chunk_records_max
        self._metadata_characters_max = commit_metadata.METADATA_CHARACTERS_MAX
        self._is_wide = span_max > self._span_named()
        self._progress: dict[Assignment, _Progress] = {}
        self._changed: set[Assignment] = set()

    def __contains__(self, assignment: Assignment) -> bool:
        return assignment in self._progress

    def __iter__(self) -> Iterator[Assignment]:
        return iter(self._progress)

    def __len__(self) -> int:
        return len(self._progress)

    def note_change(self, assignments: Iterable[Assignment]) -> None:
        """Records of these were tracked or settled."""
        self._changed.update(assignments)

    def take_changed(self) -> set[Assignment]:
        """The assignments whose reach or standing may be another than when this was last asked."""
        changed, self._changed = self._changed, set()
        return changed

    def assign(self, start: Start) -> bool:
        """A partition became ours: a new epoch begins. False if the metadata of its last commit
        couldn't be used.
        """
        found = commit_metadata.of(start)
        known = found if found is not None else commit_metadata.CommitMetadata(floor=start.position)
        tracker = Tracker(start.position, known.settled)
        self._progress[start.assignment] = _Progress(
            tracker, start.position, start.committed, known.floor, self._span_max()
        )
        self._changed.add(start.assignment)
        return found is not None

    def tracker(self, assignment: Assignment) -> Tracker:
        """The tracker of a known assignment."""
        return self._progress[assignment].tracker

    def reach(self, assignment: Assignment) -> Reach:
        """How far this partition reaches beyond its safe position, and how far it may."""
        progress = self._progress[assignment]
        return Reach(progress.tracker.span, progress.span_max)

    def committed(self, assignment: Assignment) -> Position | None:
        """The position last acknowledged by the broker; None before there was one."""
        return self._progress[assignment].committed

    def state(self, assignment: Assignment) -> AssignmentState:
        """How it stands; GONE for what isn't known (any more)."""
        progress = self._progress.get(assignment)
        return progress.state if progress is not None else AssignmentState.RELEASED

    def drain(self, assignments: Collection[Assignment]) -> None:
        """Nothing more is received of these; what is under way is brought to an end."""
        self._changed.update(assignments)
        for assignment in assignments:
            # What is about to end already isn't held up: a stop may come in the middle of a
            # revocation.
            if self.state(assignment) is AssignmentState.ASSIGNED:
                self._progress[assignment].state = AssignmentState.DRAINING

    def end_sending(self, assignments: Collection[Assignment]) -> None:
        """Nothing more is sent of these; answers to what has been sent still count."""
        self._changed.update(assignments)
        for assignment in assignments:
            if assignment in self._progress:
                self._progress[assignment].state = AssignmentState.AWAITING_ANSWERS

    def remove(self, assignments: Collection[Assignment]) -> None:
        """These are no longer ours: from now on nothing is settled, sent or committed for them."""
        self._changed.update(assignments)
        for assignment in assignments:
            self._progress.pop(assignment, None)

    def to_commit(self) -> dict[Assignment, Position]:
        """The safe positions, with hints beside them, that the broker doesn't have yet."""
        positions = {
            assignment: self._position(progress) for assignment, progress in self._progress.items()
        }
        # How far each may reach depends on the size of its hints.
        self._changed.update(positions)
        return {
            assignment: position
            for assignment, position in positions.items()
            if position != self._progress[assignment].committed
        }

    def _position(self, progress: _Progress) -> Position:
        safe, room = progress.tracker.safe_position, self._metadata_characters_max
        metadata = commit_metadata.encode(
            safe, progress.floor, progress.tracker.settled_ranges(), room
        )
        if len(metadata) > room * SHRINK_SHARE:
            progress.span_max = max(
                min(self._span_named(), self._span_wanted), progress.span_max // 2
            )
        elif len(metadata) < room * GROW_SHARE:
            progress.span_max = min(self._span_max(), progress.span_max * 2)
        return Position(safe, metadata)

    def limit_metadata(self, refused: Collection[Position]) -> int | None:
        """The broker found the metadata of these positions too large. Returns the limit from now
        on, None if it stays.

        Its own limit isn't in its answer. So the next lower one is tried of 4096, 3072, 2048, 1536,
        1024 and so on: limits are mostly powers of two, and no metadata at all is never too large.
        """
        if not refused:
            return None
        limit, least = (
            self._metadata_characters_max,
            min(len(position.metadata) for position in refused),
        )
        while limit and limit >= least:
            is_power = limit & (limit - 1) == 0
            limit -= max(1, limit // (4 if is_power else 3))
        if limit == self._metadata_characters_max:
            return None
        self._metadata_characters_max = limit
        for progress in self._progress.values():
            progress.span_max = min(progress.span_max, self._span_max())
        self._changed.update(self._progress)
        return limit

    def _span_named(self) -> int:
        """How far a partition may reach so that all of it can be named, with the chunk that comes
        on top.
        """
        return max(
            SPAN_RECORDS_MIN,
            commit_metadata.span_named(self._metadata_characters_max) - self._chunk_span,
        )

    def _span_max(self) -> int:
        return self._span_wanted if self._is_wide else min(self._span_wanted, self._span_named())

    def commit(self, positions: dict[Assignment, Position]) -> None:
        """The broker has acknowledged these. What has been removed since is passed over."""
        for assignment, position in positions.items():
            progress = self._progress.get(assignment)
            if progress is not None:
                progress.committed = position

    def in_motion(self, assignments: Collection[Assignment]) -> int:
        """How many records of these are still being worked on."""
        return sum(
            self._progress[assignment].tracker.in_motion
            for assignment in assignments
            if assignment in self
        )

    def left(self, assignment: Assignment) -> Left:
        """What would be left of a known assignment if it went away now."""
        progress = self._progress[assignment]
        committed = (
            progress.committed.offset if progress.committed is not None else progress.started_at
        )
        return Left(progress.tracker.unsettled, max(0, progress.tracker.safe_position - committed))

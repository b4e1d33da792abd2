"""The progress of every assignment: its state, its tracker, and what has been committed.

An assignment is known from `assign` until `remove`. An answer for an unknown assignment finds
nothing to settle: this is the fence that keeps a late answer from touching another epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

from worker.core.model.record import Assignment, AssignmentState, Position, Start, TopicPartition
from worker.core.progress.pressure import Reach
from worker.core.progress.tracker import Tracker
from worker.core.wire import commit_metadata

# If the span is larger than the metadata can name in every case, it shrinks when the metadata fills
# the first share of its room, and grows again when the metadata fills less than the second share.
SHRINK_SHARE = 0.75
GROW_SHARE = 0.25
# However little metadata a broker allows, a span must hold some batches.
SPAN_RECORDS_MIN = 500


class Left(NamedTuple):
    """The work that the next owner of a partition has to repeat.

    `unsettled` is how many received records aren't settled, `uncommitted` by how many offsets the
    committed position lies behind the safe position.
    """

    unsettled: int = 0
    uncommitted: int = 0

    def plus(self, other: Left) -> Left:
        """Return the sum of both."""
        return Left(self.unsettled + other.unsettled, self.uncommitted + other.uncommitted)


class Abandoned:
    """The partitions that were released with something left, until they have a new owner.

    A process that ends reports whether there is any.
    """

    def __init__(self) -> None:
        self._left: dict[TopicPartition, Left] = {}

    def note(self, partition: TopicPartition, left: Left) -> None:
        """Remember what was left of a partition when it was released."""
        if any(left):
            self._left[partition] = left

    def begin(self, partition: TopicPartition) -> None:
        """Forget a partition: it is assigned to this process again."""
        self._left.pop(partition, None)

    def keep_only(self, partitions: Set[TopicPartition]) -> None:
        """Forget all partitions but these, which are ours: the others have other owners."""
        self._left = {
            partition: left for partition, left in self._left.items() if partition in partitions
        }

    def total(self) -> Left:
        """Return the sum over all partitions."""
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
    """The assignments of this process.

    The commit metadata names the settled ranges above a safe position. Ranges for which it has no
    room are delivered again after a crash. So a partition is read no further ahead than the
    metadata can name, in whatever order its records are settled. With a larger span (so that in an
    outage the memory is the bound, not the span) some ranges may find no room.

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
        """Mark assignments of which records were tracked or settled."""
        self._changed.update(assignments)

    def take_changed(self) -> set[Assignment]:
        """Return the assignments whose reach or state may have changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def assign(self, start: Start) -> bool:
        """Begin a new epoch; False if the metadata of the last commit couldn't be used."""
        found = commit_metadata.of(start)
        known = found if found is not None else commit_metadata.CommitMetadata(floor=start.position)
        tracker = Tracker(start.position, known.settled)
        self._progress[start.assignment] = _Progress(
            tracker, start.position, start.committed, known.floor, self._span_max()
        )
        self._changed.add(start.assignment)
        return found is not None

    def tracker(self, assignment: Assignment) -> Tracker:
        """Return the tracker of a known assignment."""
        return self._progress[assignment].tracker

    def reach(self, assignment: Assignment) -> Reach:
        """Return how far this partition reaches beyond its safe position, and how far it may."""
        progress = self._progress[assignment]
        return Reach(progress.tracker.span, progress.span_max)

    def committed(self, assignment: Assignment) -> Position | None:
        """Return the position last acknowledged by the broker; None before the first."""
        return self._progress[assignment].committed

    def state(self, assignment: Assignment) -> AssignmentState:
        """Return the state of an assignment; RELEASED if it isn't known."""
        progress = self._progress.get(assignment)
        return progress.state if progress is not None else AssignmentState.RELEASED

    def drain(self, assignments: Collection[Assignment]) -> None:
        """Receive no more records of these assignments; the work in progress is finished."""
        self._changed.update(assignments)
        for assignment in assignments:
            # An assignment that awaits its last answers stays in that state: a stop may come in the
            # middle of a revocation.
            if self.state(assignment) is AssignmentState.ASSIGNED:
                self._progress[assignment].state = AssignmentState.DRAINING

    def end_sending(self, assignments: Collection[Assignment]) -> None:
        """Send no more rows of these assignments; answers still count."""
        self._changed.update(assignments)
        for assignment in assignments:
            if assignment in self._progress:
                self._progress[assignment].state = AssignmentState.AWAITING_ANSWERS

    def remove(self, assignments: Collection[Assignment]) -> None:
        """Forget these assignments: nothing is settled, sent or committed for them any more."""
        self._changed.update(assignments)
        for assignment in assignments:
            self._progress.pop(assignment, None)

    def to_commit(self) -> dict[Assignment, Position]:
        """Return the safe positions, with metadata, that the broker doesn't have yet."""
        positions: dict[Assignment, Position] = {}
        for assignment, progress in self._progress.items():
            span_max = progress.span_max
            position = self._position(progress)
            if progress.span_max != span_max:
                self._changed.add(assignment)
            if position != progress.committed:
                positions[assignment] = position
        return positions

    def _position(self, progress: _Progress) -> Position:
        """Return the position to commit, and let the size of its metadata set the span."""
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
        """Lower the limit of metadata below what the broker refused; None if it stays.

        The broker doesn't name its limit. So the next lower value of 4096, 3072, 2048, 1536, 1024
        and so on is tried: limits are mostly powers of two, and empty metadata is never too large.
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
        """Return how far a partition may reach so that metadata can name all of it.

        The chunk that may come on top of the span is counted in.
        """
        return max(
            SPAN_RECORDS_MIN,
            commit_metadata.span_named(self._metadata_characters_max) - self._chunk_span,
        )

    def _span_max(self) -> int:
        return self._span_wanted if self._is_wide else min(self._span_wanted, self._span_named())

    def commit(self, positions: dict[Assignment, Position]) -> None:
        """Take over acknowledged positions; assignments removed since are passed over."""
        for assignment, position in positions.items():
            progress = self._progress.get(assignment)
            if progress is not None:
                progress.committed = position

    def in_motion(self, assignments: Collection[Assignment]) -> int:
        """Return how many records of these assignments are still being worked on."""
        return sum(
            self._progress[assignment].tracker.in_motion
            for assignment in assignments
            if assignment in self
        )

    def left(self, assignment: Assignment) -> Left:
        """Return what would be left of a known assignment if it were released now."""
        progress = self._progress[assignment]
        committed = (
            progress.committed.offset if progress.committed is not None else progress.started_at
        )
        return Left(progress.tracker.unsettled, max(0, progress.tracker.safe_position - committed))

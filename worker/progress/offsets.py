"""Every assignment's progress: standing, tracker, and what has been committed.

An assignment is known from `assign` until `remove`. An answer that comes for one that isn't known finds nothing to settle:
that is the fence that keeps a late answer from touching another epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from worker.model.record import Assignment, Start
from worker.model.standing import Standing
from worker.progress.tracker import Tracker


@dataclass(slots=True)
class _Progress:
    tracker: Tracker
    committed: int | None
    standing: Standing = Standing.OURS


class Offsets:
    """The partitions that are ours, each with its epoch."""

    def __init__(self) -> None:
        self._progress: dict[Assignment, _Progress] = {}

    def __contains__(self, assignment: Assignment) -> bool:
        return assignment in self._progress

    def __iter__(self) -> Iterator[Assignment]:
        return iter(self._progress)

    def __len__(self) -> int:
        return len(self._progress)

    def assign(self, start: Start) -> None:
        """A partition became ours: a new epoch begins."""
        self._progress[start.assignment] = _Progress(Tracker(start.position), start.committed)

    def tracker(self, assignment: Assignment) -> Tracker:
        """The tracker of a known assignment."""
        return self._progress[assignment].tracker

    def committed(self, assignment: Assignment) -> int | None:
        """The position last acknowledged by the broker; None before there was one."""
        return self._progress[assignment].committed

    def standing(self, assignment: Assignment) -> Standing:
        """How it stands; GONE for what isn't known (any more)."""
        progress = self._progress.get(assignment)
        return progress.standing if progress is not None else Standing.GONE

    def drain(self, assignments: Collection[Assignment]) -> None:
        """Nothing more is received of these; what is under way is brought to an end."""
        for assignment in assignments:
            if assignment in self._progress:
                self._progress[assignment].standing = Standing.DRAINING

    def remove(self, assignments: Collection[Assignment]) -> None:
        """These are no longer ours: from now on nothing is settled, sent or committed for them."""
        for assignment in assignments:
            self._progress.pop(assignment, None)

    def to_commit(self) -> dict[Assignment, int]:
        """The safe positions that the broker doesn't have yet."""
        return {
            assignment: progress.tracker.safe_position
            for assignment, progress in self._progress.items()
            if progress.tracker.safe_position != progress.committed
        }

    def commit(self, positions: dict[Assignment, int]) -> None:
        """The broker has acknowledged these. What has been removed since is passed over."""
        for assignment, position in positions.items():
            progress = self._progress.get(assignment)
            if progress is not None:
                progress.committed = position

    def in_motion(self, assignments: Collection[Assignment]) -> int:
        """How many records of these are still being worked on."""
        return sum(self._progress[assignment].tracker.in_motion for assignment in assignments if assignment in self)

    def unsettled(self) -> int:
        """How many received records aren't settled, over all assignments."""
        return sum(progress.tracker.unsettled for progress in self._progress.values())

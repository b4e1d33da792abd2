"""When to commit, and which positions.

At least once per interval while there is something to commit, and never two commits at once.
"""

from __future__ import annotations

from worker.core.model.command import Commit
from worker.core.progress.offsets import Offsets


class Commits:
    """Decides when the safe positions of these offsets are committed.

    Args:
        offsets: whose safe positions are committed.
        interval_seconds: the least time between the starts of two commits.
    """

    def __init__(self, offsets: Offsets, interval_seconds: float) -> None:
        self._offsets = offsets
        self._interval_seconds = interval_seconds
        self._due_seconds = 0.0
        self._has_progress = False
        self._is_in_flight = False

    @property
    def is_in_flight(self) -> bool:
        """True from the start of a commit until its result."""
        return self._is_in_flight

    def note_progress(self) -> None:
        """Note that a safe position may have moved."""
        self._has_progress = True

    def is_due(self, monotonic_seconds: float) -> bool:
        """True if a commit should start now."""
        return (
            self._has_progress and not self._is_in_flight and monotonic_seconds >= self._due_seconds
        )

    def next_deadline(self) -> float | None:
        """Return when the next commit is due, in monotonic seconds.

        None with nothing to commit, or while a commit is in flight.
        """
        return self._due_seconds if self._has_progress and not self._is_in_flight else None

    def start(self, monotonic_seconds: float) -> list[Commit]:
        """Return the commit of all safe positions; no command if the broker has them already."""
        positions = self._offsets.to_commit()
        self._has_progress = False
        self._is_in_flight = bool(positions)
        self._due_seconds = monotonic_seconds + self._interval_seconds
        return [Commit(positions)] if positions else []

    def succeed(self) -> None:
        """End the commit in flight: the broker has acknowledged it."""
        self._is_in_flight = False

    def fail(self) -> None:
        """End the commit in flight: its positions are committed again with the next commit."""
        self._is_in_flight = False
        self._has_progress = True

    def commit_soon(self) -> None:
        """Make the next commit due at once: the cause of the last failure has been removed."""
        self._due_seconds = 0.0

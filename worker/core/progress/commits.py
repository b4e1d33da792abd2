"""When to commit: at least once an interval while there is something to commit, and never two
commits at once.
"""

from __future__ import annotations


class Commits:
    """The rhythm of commits.

    `interval_seconds` is the least time from one commit's start to the next one's.
    """

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._due_seconds = 0.0
        self._has_news = False
        self._is_in_flight = False

    @property
    def is_in_flight(self) -> bool:
        """True while a commit awaits its end."""
        return self._is_in_flight

    def note_progress(self) -> None:
        """A safe position may have moved."""
        self._has_news = True

    def is_due(self, monotonic_seconds: float) -> bool:
        """True if a commit should start now."""
        return self._has_news and not self._is_in_flight and monotonic_seconds >= self._due_seconds

    def next_deadline(self) -> float | None:
        """When the next commit is due, in monotonic seconds; None with nothing to commit or with a
        commit under way.
        """
        return self._due_seconds if self._has_news and not self._is_in_flight else None

    def start(self, monotonic_seconds: float, *, has_positions: bool) -> None:
        """The news has been looked at; a commit is under way if there was anything to commit."""
        self._has_news = False
        self._is_in_flight = has_positions
        self._due_seconds = monotonic_seconds + self._interval_seconds

    def end(self, *, is_committed: bool) -> None:
        """The commit under way has ended. What failed is tried again with the next one."""
        self._is_in_flight = False
        if not is_committed:
            self._has_news = True

    def commit_soon(self) -> None:
        """Whatever stood in the way of the last commit is out of the way: the next one is due at
        once.
        """
        self._due_seconds = 0.0

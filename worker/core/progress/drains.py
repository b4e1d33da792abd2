"""Bringing partitions to an end, on revocation and on stop: let what is under way finish, commit
once, let go.

A drain is *over* when none of its records is being worked on any more, or when its deadline has
passed. What is unsettled then stays uncommitted, and the next owner of the partition receives it
again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from worker.core.model.record import Assignment

# The last part of a drain, in which nothing is sent: a request that starts just before the end is
# answered after it, and its rows are sent a second time by the next owner.
QUIET_SHARE = 1 / 3


@dataclass(slots=True, eq=False)
class Drain:
    """One drain. `is_stop`: of the whole worker. `is_committed`: its last commit has been sent, or
    there was none to send.

    Until `quiet_seconds` requests may start; after it, answers are awaited until
    `deadline_seconds`.
    """

    assignments: frozenset[Assignment]
    quiet_seconds: float
    deadline_seconds: float
    is_stop: bool
    is_quiet: bool = False
    is_committed: bool = False
    is_over: bool = False


class Drains:
    """The drains under way, oldest first."""

    def __init__(self) -> None:
        self._drains: list[Drain] = []

    @property
    def is_stopping(self) -> bool:
        """True if the whole worker drains."""
        return any(drain.is_stop for drain in self._drains)

    def begin(
        self,
        assignments: Collection[Assignment],
        monotonic_seconds: float,
        deadline_seconds: float,
        *,
        is_stop: bool,
    ) -> None:
        """Start a drain; what it takes is done by the caller."""
        quiet_seconds = deadline_seconds - (deadline_seconds - monotonic_seconds) * QUIET_SHARE
        self._drains.append(Drain(frozenset(assignments), quiet_seconds, deadline_seconds, is_stop))

    def to_silence(self, monotonic_seconds: float) -> list[Drain]:
        """The drains that may send nothing more from now on. Each is told once."""
        due = [
            drain
            for drain in self._drains
            if not drain.is_quiet and monotonic_seconds >= drain.quiet_seconds
        ]
        for drain in due:
            drain.is_quiet = True
        return due

    def over(
        self, monotonic_seconds: float, in_motion: Callable[[Collection[Assignment]], int]
    ) -> list[Drain]:
        """The drains that have come to their end, and once they have, until `end`."""
        for drain in self._drains:
            drain.is_over = (
                drain.is_over
                or monotonic_seconds >= drain.deadline_seconds
                or in_motion(drain.assignments) == 0
            )
        return [drain for drain in self._drains if drain.is_over]

    def end(self, drain: Drain) -> None:
        """This drain has committed and let go."""
        self._drains.remove(drain)

    def commit_again(self) -> None:
        """The last commit was refused for what is different now: it is sent once more."""
        for drain in self._drains:
            drain.is_committed = False

    def next_deadline(self) -> float | None:
        """When a drain must send no more, or runs out of time, in monotonic seconds; None where
        neither can be.
        """
        dues = [
            drain.deadline_seconds if drain.is_quiet else drain.quiet_seconds
            for drain in self._drains
            if not drain.is_over
        ]
        return min(dues, default=None)

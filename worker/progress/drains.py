"""Bringing partitions to an end, on revocation and on stop: let what is under way finish, commit once, let go.

A drain is *over* when none of its records is being worked on any more, or when its deadline has passed. What is unsettled then
stays uncommitted, and the next owner of the partition receives it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from worker.model.record import Assignment


@dataclass(slots=True, eq=False)
class Drain:
    """One drain. `is_stop`: of the whole worker. `is_committed`: its last commit has been sent, or there was none to send."""

    assignments: tuple[Assignment, ...]
    deadline_seconds: float
    is_stop: bool
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

    def begin(self, assignments: Collection[Assignment], deadline_seconds: float, *, is_stop: bool) -> None:
        """Start a drain; what it takes is done by the caller."""
        self._drains.append(Drain(tuple(assignments), deadline_seconds, is_stop))

    def over(self, monotonic_seconds: float, in_motion: Callable[[Collection[Assignment]], int]) -> list[Drain]:
        """The drains that have come to their end, and once they have, until `end`."""
        for drain in self._drains:
            drain.is_over = drain.is_over or monotonic_seconds >= drain.deadline_seconds or in_motion(drain.assignments) == 0
        return [drain for drain in self._drains if drain.is_over]

    def end(self, drain: Drain) -> None:
        """This drain has committed and let go."""
        self._drains.remove(drain)

    def next_deadline(self) -> float | None:
        """When the next drain runs out of time, in monotonic seconds; None where none can."""
        return min((drain.deadline_seconds for drain in self._drains if not drain.is_over), default=None)

"""Letting partitions go, on revocation and on stop: bring what is under way to its end, commit
once, then the fence.

Routes between the rooms like the pipeline does, and owns no rule either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from dataclasses import dataclass

from worker.core.model.clock import Now
from worker.core.model.command import Command, Finish, Release
from worker.core.model.record import Assignment
from worker.core.settlement import Components, RowFlow

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


class Draining:
    """The drains of a pipeline. What is to be done about them is added to `commands`.

    Args:
        rooms: what it routes between.
        settling: closes the books.
        commands: takes `Release` and `Finish`.
        commit: commits what is safe; False if the broker has it all already.
    """

    def __init__(
        self,
        rooms: Components,
        settling: RowFlow,
        commands: list[Command],
        commit: Callable[[Now], bool],
    ) -> None:
        self._routes = rooms.routes
        self._dispatcher = rooms.dispatcher
        self._ledger = rooms.ledger
        self._commits = rooms.commits
        self._settling = settling
        self._commands = commands
        self._commit = commit
        self._drains = Drains()
        self.is_finished = False

    @property
    def is_stopping(self) -> bool:
        """True if the whole worker is coming to its end."""
        return self._drains.is_stopping or self.is_finished

    def next_deadline(self) -> float | None:
        """When a drain goes on for its time alone, in monotonic seconds; None where none does."""
        return self._drains.next_deadline()

    def begin(
        self,
        assignments: Collection[Assignment],
        deadline_seconds: float,
        now: Now,
        *,
        is_stop: bool,
    ) -> None:
        """What can be sent at once is sent; what waits for an attempt or a probe is given back."""
        leaving = frozenset(assignments)
        self._ledger.offsets.drain(leaving)
        self._drains.begin(leaving, now.monotonic_seconds, deadline_seconds, is_stop=is_stop)
        for route in self._routes.values():
            self._settling.submit(route.batcher.drain(leaving))
        self._settling.settle(self._dispatcher.take_back_waiting(leaving), now)

    def advance(self, now: Now) -> None:
        """Bring drains to their end, as far as they are: the last sending, the last commit, the
        fence.
        """
        for drain in self._drains.to_silence(now.monotonic_seconds):
            self._ledger.offsets.end_sending(drain.assignments)
            self._give_up(drain.assignments, now)
        for drain in self._drains.over(now.monotonic_seconds, self._ledger.offsets.in_motion):
            if self._commits.is_in_flight:
                return
            if not drain.is_committed:
                drain.is_committed = True
                if self._commit(now):
                    return
            self._end(drain, now)

    def commit_again(self) -> None:
        """The last commit was refused for what is different now: drains send it once more."""
        self._drains.commit_again()

    def let_go(self, assignments: Collection[Assignment], now: Now) -> None:
        """The fence: from here on nothing is sent, settled or committed for these."""
        gone = frozenset(assignments)
        self._ledger.remove(gone)
        for route in self._routes.values():
            self._ledger.let_go(route.window.unlink(gone))
        self._give_up(gone, now)

    def _give_up(self, assignments: Set[Assignment], now: Now) -> None:
        """What isn't in flight is left to the next owner."""
        for route in self._routes.values():
            self._settling.give_back(route.batcher.take_back(assignments), now)
        self._settling.settle(self._dispatcher.take_back(assignments), now)

    def _end(self, drain: Drain, now: Now) -> None:
        left = self._ledger.left()
        self._drains.end(drain)
        self.let_go(drain.assignments, now)
        if drain.is_stop:
            self.is_finished = True
            self._commands.append(Finish(left.unsettled, left.uncommitted))
        else:
            self._commands.append(Release(tuple(sorted(drain.assignments))))

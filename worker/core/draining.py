"""Drains, on revocation and on stop: finish what is in flight, commit once, then the fence.

A drain passes these stages, in this order:

    SENDING           requests may start, for the first two thirds of its time
    AWAITING_ANSWERS  nothing is sent any more; answers still count
    OVER              no record of the drain is being worked on, or its time has passed
    COMMITTED         its last commit was sent, or there was nothing to commit

Records that are unsettled at the end stay uncommitted: the next owner of the partition receives
them again.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

from worker.core.model.clock import Now
from worker.core.model.command import Command, Finish, Release
from worker.core.model.record import Assignment
from worker.core.route import Components
from worker.core.settlement import RowFlow

# The last part of a drain, in which no request starts: the answer to a request that starts just
# before the end arrives after it, and the next owner sends its rows a second time.
QUIET_SHARE = 1 / 3


class DrainGoal(Enum):
    """What a drain ends with: the release of its partitions, or the stop of the worker."""

    RELEASE = auto()
    STOP = auto()


class DrainStage(IntEnum):
    """How far a drain is."""

    SENDING = auto()
    AWAITING_ANSWERS = auto()
    OVER = auto()
    COMMITTED = auto()


@dataclass(slots=True, eq=False)
class Drain:
    """A drain in progress. Its times are in monotonic seconds."""

    goal: DrainGoal
    assignments: frozenset[Assignment]
    quiet_seconds: float
    deadline_seconds: float
    stage: DrainStage = DrainStage.SENDING


class Draining:
    """The drains of a pipeline, oldest first. Returns the commands that they need."""

    def __init__(self, components: Components, flow: RowFlow) -> None:
        self._routes = components.routes
        self._dispatcher = components.dispatcher
        self._ledger = components.ledger
        self._flow = flow
        self._drains: list[Drain] = []
        self.is_finished = False

    @property
    def is_stopping(self) -> bool:
        """True from the request to stop on."""
        return self.is_finished or any(drain.goal is DrainGoal.STOP for drain in self._drains)

    def next_deadline(self) -> float | None:
        """Return when a drain reaches its next stage by time alone, in monotonic seconds."""
        deadlines = [
            drain.quiet_seconds if drain.stage is DrainStage.SENDING else drain.deadline_seconds
            for drain in self._drains
            if drain.stage < DrainStage.OVER
        ]
        return min(deadlines, default=None)

    def begin(
        self,
        goal: DrainGoal,
        assignments: Collection[Assignment],
        deadline_seconds: float,
        now: Now,
    ) -> list[Command]:
        """Start a drain: seal open batches, give back rows that wait for a retry or a probe.

        Rows in quarantine stay as long as an answer may decide on them: see `advance`.
        """
        drained = frozenset(assignments)
        quiet_seconds = deadline_seconds - (deadline_seconds - now.monotonic_seconds) * QUIET_SHARE
        self._drains.append(Drain(goal, drained, quiet_seconds, deadline_seconds))
        self._ledger.offsets.drain(drained)
        for route in self._routes.values():
            self._flow.submit(route.batcher.drain(drained))
        return self._flow.settle(self._dispatcher.waiting.take_back_waiting(drained), now)

    def advance(self, now: Now) -> list[Command]:
        """Bring the drains as far as they can go now.

        While a drain may send, it gives back the rows in quarantine that no answer can decide on
        any more; after that, all rows that aren't in flight.
        """
        commands: list[Command] = []
        for drain in self._drains:
            if drain.stage is DrainStage.SENDING and now.monotonic_seconds >= drain.quiet_seconds:
                drain.stage = DrainStage.AWAITING_ANSWERS
                self._ledger.offsets.end_sending(drain.assignments)
                commands += self._give_up(drain.assignments, now)
            elif drain.stage is DrainStage.SENDING:
                undecided = self._dispatcher.take_back_undecided(drain.assignments)
                commands += self._flow.settle(undecided, now)
        for drain in self._drains:
            if drain.stage < DrainStage.OVER and self._is_over(drain, now):
                drain.stage = DrainStage.OVER
        for drain in [drain for drain in self._drains if drain.stage >= DrainStage.OVER]:
            # If a commit is still in flight, the last commit has to wait for its result.
            if self._ledger.commits.is_in_flight:
                break
            if drain.stage is DrainStage.OVER:
                drain.stage = DrainStage.COMMITTED
                if commit := self._ledger.commits.start(now.monotonic_seconds):
                    return [*commands, *commit]
            commands += self._end(drain, now)
        return commands

    def commit_again(self) -> None:
        """Send the last commit again: the cause of its failure has been removed."""
        for drain in self._drains:
            drain.stage = min(drain.stage, DrainStage.OVER)

    def release(self, assignments: Collection[Assignment], now: Now) -> list[Command]:
        """Set the fence: nothing more is sent, settled or committed for these assignments."""
        gone = frozenset(assignments)
        self._ledger.remove(gone)
        for route in self._routes.values():
            unlinked = route.window.unlink(gone)
            self._dispatcher.waiting.ordered.unlink(unlinked)
            self._ledger.release(unlinked)
        return self._give_up(gone, now)

    def _is_over(self, drain: Drain, now: Now) -> bool:
        """True once no record of the drain is being worked on, or its time has passed."""
        return (
            now.monotonic_seconds >= drain.deadline_seconds
            or self._ledger.offsets.in_motion(drain.assignments) == 0
        )

    def _give_up(self, assignments: Set[Assignment], now: Now) -> list[Command]:
        """Give back all rows that aren't in flight."""
        for route in self._routes.values():
            self._flow.give_back(route.batcher.take_back(assignments), now)
        return self._flow.settle(self._dispatcher.waiting.take_back(assignments), now)

    def _end(self, drain: Drain, now: Now) -> list[Command]:
        left = self._ledger.left()
        self._drains.remove(drain)
        commands = self.release(drain.assignments, now)
        if drain.goal is DrainGoal.STOP:
            self.is_finished = True
            return [*commands, Finish(left.unsettled, left.uncommitted)]
        return [*commands, Release(tuple(sorted(drain.assignments)))]

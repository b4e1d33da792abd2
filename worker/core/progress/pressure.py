"""When to stop receiving and when to go on, so that memory stays bounded through an outage of any
length.

Two bounds, each with two marks: reception stops at the high mark and goes on at half of it. With a
single mark it would flicker. The marks are soft by one chunk: what was being received when the mark
was passed is still taken.

A partition may be stopped by a row that nobody can judge, because nothing else is left to be sent
that would show whether the API works (`lonely` rows). Then it is let in a chunk at a time, up to
CHUNKS_BEYOND_MAX of them beyond its span.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

from worker.core.model.record import Assignment


class MemoryGauge:
    """The bytes held, by everything that holds records, and whether they are too many."""

    def __init__(self, bytes_max: int) -> None:
        self._high = bytes_max
        self._low = bytes_max // 2
        self._held = 0
        self._is_high = False

    @property
    def held_bytes(self) -> int:
        """What is held now."""
        return self._held

    @property
    def is_high(self) -> bool:
        """True from passing the high mark until falling to the low one."""
        return self._is_high

    @property
    def low_bytes(self) -> int:
        """The low mark: reception goes on there."""
        return self._low

    def reserve(self, size_bytes: int) -> None:
        """So much more is held."""
        self._held += size_bytes
        if self._held >= self._high:
            self._is_high = True

    def release(self, size_bytes: int) -> None:
        """So much is let go."""
        self._held -= size_bytes
        if self._held < 0:
            raise ValueError(f"{-self._held} bytes released that were not held")
        if self._held <= self._low:
            self._is_high = False


NOBODY: frozenset[Assignment] = frozenset()
# A row is judged by some ten others that are taken, each in a request of its own; twice as many,
# for bad company.
CHUNKS_BEYOND_MAX = 20


class Reach(NamedTuple):
    """How far a partition's reception reaches beyond its safe position, and how far it may, in
    offsets.
    """

    span: int
    span_max: int


class ReceptionControl:
    """Which assignments are received of. `change` says what to pause and what to resume, each only
    when it changes.

    `chunk_records_max` is how much of one is received at once.
    """

    def __init__(self, chunk_records_max: int) -> None:
        self._beyond_max = CHUNKS_BEYOND_MAX * chunk_records_max
        self._reaches: dict[Assignment, Reach] = {}
        self._let_in: set[Assignment] = set()
        self._touched: set[Assignment] = set()
        self._known: set[Assignment] = set()
        self._wide: set[Assignment] = set()
        self._paused: set[Assignment] = set()
        self._waiting: Set[Assignment] = frozenset()
        self._stops_all = False

    @property
    def paused(self) -> frozenset[Assignment]:
        """The assignments that are paused."""
        return frozenset(self._paused)

    @property
    def over_span(self) -> Set[Assignment]:
        """The assignments that are paused for their span."""
        return self._wide

    def admit(self, assignments: Set[Assignment]) -> None:
        """Of these one more chunk is received although they are wide, unless they reach too far
        beyond their spans.
        """
        going = {one for one in assignments & self._wide if self._beyond(one) < self._beyond_max}
        self._let_in |= going
        self._touched |= going

    def receive(self, assignment: Assignment) -> None:
        """A chunk of this one has been received."""
        if assignment in self._let_in:
            self._let_in.remove(assignment)
            self._touched.add(assignment)

    def change(
        self,
        reaches: Mapping[Assignment, Reach | None],
        *,
        waiting: Set[Assignment] = NOBODY,
        stop_all: bool,
    ) -> tuple[frozenset[Assignment], frozenset[Assignment]]:
        """What to pause and what to resume now.

        Args:
            reaches: the assignments whose reach has changed since the last call; None for one that
                nothing more may be received of, which is forgotten.
            waiting: those that have nothing to do but to wait, whatever their span.
            stop_all: nothing at all may be received now (memory, or the dead-letter topic can't be
                written).
        """
        looked_at = set(reaches) | self._touched
        self._touched.clear()
        if waiting is not self._waiting:
            looked_at |= waiting ^ self._waiting
        if stop_all is not self._stops_all:
            looked_at |= self._known
        self._waiting, self._stops_all = waiting, stop_all
        if not looked_at:
            return NOBODY, NOBODY
        for assignment, reach in reaches.items():
            self._note(assignment, reach)
        looked_at &= self._known
        stopped = self._wide - self._let_in if self._let_in else self._wide
        wanted = (
            looked_at
            if stop_all
            else {one for one in looked_at if one in stopped or one in waiting}
        )
        pause, resume = wanted - self._paused, (looked_at - wanted) & self._paused
        self._paused |= pause
        self._paused -= resume
        return frozenset(pause), frozenset(resume)

    def _note(self, assignment: Assignment, reach: Reach | None) -> None:
        if reach is None:
            for names in (self._known, self._wide, self._paused, self._let_in):
                names.discard(assignment)
            self._reaches.pop(assignment, None)
            return
        self._known.add(assignment)
        self._reaches[assignment] = reach
        if reach.span >= reach.span_max:
            self._wide.add(assignment)
        elif reach.span <= reach.span_max // 2:
            self._wide.discard(assignment)
            self._let_in.discard(assignment)

    def _beyond(self, assignment: Assignment) -> int:
        reach = self._reaches[assignment]
        return reach.span - reach.span_max

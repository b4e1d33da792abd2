"""When to pause reception and when to resume it, so that memory stays bounded in any outage.

There are two bounds: the memory of the worker, and the span of each partition. Each has two marks:
reception pauses at the high mark and resumes at half of it. With a single mark it would switch all
the time. A chunk that is being received when the mark is passed is still taken in. Requests start
whatever the memory, because they are what releases it: their bodies come on top.

A row whose failure may be the API's fault can keep a partition paused: only other rows could show
whether the API works, and they lie beyond the span. Then the partition is received one chunk at a
time, up to CHUNKS_BEYOND_MAX chunks beyond its span.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

from worker.core.model.record import Assignment


class MemoryGauge:
    """The bytes of all records in memory and of requests' bodies, and whether they are too many.

    Reception pauses at seven eighths. The last eighth is for records that are needed to decide on a
    failing row: rows of an ordered lane that wait behind it could fill the rest.

    Args:
        bytes_max: the maximum of records, apart from a chunk that is being received when reception
            pauses.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._high = bytes_max - bytes_max // 8
        self._low = bytes_max // 2
        self._held = 0
        self._is_high = False

    @property
    def held_bytes(self) -> int:
        """The bytes of all records in memory now."""
        return self._held

    @property
    def is_high(self) -> bool:
        """True from passing the high mark until falling to the low mark."""
        return self._is_high

    @property
    def low_bytes(self) -> int:
        """The low mark: reception resumes there."""
        return self._low

    def resume(self) -> None:
        """Let reception resume above the low mark, once: new records are needed to go on."""
        self._is_high = self._held >= self._bytes_max

    def reserve(self, size_bytes: int) -> None:
        """Count this many bytes more."""
        self._held += size_bytes
        if self._held >= self._high:
            self._is_high = True

    def release(self, size_bytes: int) -> None:
        """Count this many bytes less."""
        self._held -= size_bytes
        if self._held < 0:
            raise ValueError(f"{-self._held} bytes released that were not held")
        if self._held <= self._low:
            self._is_high = False


NOTHING: Mapping[Assignment, bool] = MappingProxyType({})
# About ten accepted rows, each in its own request, decide on a row. Twice as many chunks, because
# some of these rows may be bad too.
CHUNKS_BEYOND_MAX = 20


class Reach(NamedTuple):
    """How far a partition has been read beyond its safe position, and the limit, in offsets."""

    span: int
    span_max: int


class ReceptionControl:
    """Decides which assignments are received: `change` returns what to pause and what to resume.

    The cost of a call depends on the assignments that have changed, not on all of them.
    `chunk_records_max` is how many records of a partition are received at once.
    """

    def __init__(self, chunk_records_max: int) -> None:
        self._beyond_max = CHUNKS_BEYOND_MAX * chunk_records_max
        self._reaches: dict[Assignment, Reach] = {}
        self._admitted: set[Assignment] = set()
        self._changed: set[Assignment] = set()
        self._over_span: set[Assignment] = set()
        self._paused: set[Assignment] = set()
        self._resting: set[Assignment] = set()
        self._stops_all = False

    @property
    def paused(self) -> frozenset[Assignment]:
        """The assignments that are paused."""
        return frozenset(self._paused)

    @property
    def over_span(self) -> Set[Assignment]:
        """The assignments that are paused for their span."""
        return self._over_span

    def admit(self, assignments: Iterable[Assignment]) -> None:
        """Receive one more chunk of each of these assignments that are over their span.

        Except those that have been read too far beyond their spans already.
        """
        for assignment in assignments:
            if assignment in self._over_span and self._beyond(assignment) < self._beyond_max:
                self._admitted.add(assignment)
                self._changed.add(assignment)

    def receive(self, assignment: Assignment) -> None:
        """Note a received chunk: its admission beyond the span is used up."""
        if assignment in self._admitted:
            self._admitted.remove(assignment)
            self._changed.add(assignment)

    def change(
        self,
        reaches: Mapping[Assignment, Reach | None],
        *,
        resting: Mapping[Assignment, bool] = NOTHING,
        stop_all: bool,
    ) -> tuple[frozenset[Assignment], frozenset[Assignment]]:
        """Return what to pause and what to resume now.

        Args:
            reaches: the assignments whose reach has changed since the last call; None for an
                assignment that drains or was released: it is forgotten.
            resting: the assignments that are paused whatever their span, because all their records
                would only wait (true), and those for which that has ended (false).
            stop_all: no record may be received now: the memory is full, a topic can't be written,
                or records wait for the clock.
        """
        changed = self._changed | reaches.keys() | resting.keys()
        self._changed.clear()
        if stop_all is not self._stops_all:
            changed |= self._reaches.keys()
        self._stops_all = stop_all
        for assignment, rests in resting.items():
            (self._resting.add if rests else self._resting.discard)(assignment)
        for assignment, reach in reaches.items():
            self._note(assignment, reach)
        pause: set[Assignment] = set()
        resume: set[Assignment] = set()
        for assignment in changed:
            if assignment not in self._reaches:
                continue
            if self._is_stopped(assignment):
                pause.add(assignment)
            else:
                resume.add(assignment)
        pause -= self._paused
        resume &= self._paused
        self._paused |= pause
        self._paused -= resume
        return frozenset(pause), frozenset(resume)

    def _is_stopped(self, assignment: Assignment) -> bool:
        return (
            self._stops_all
            or assignment in self._resting
            or (assignment in self._over_span and assignment not in self._admitted)
        )

    def _note(self, assignment: Assignment, reach: Reach | None) -> None:
        if reach is None:
            for assignments in (self._over_span, self._paused, self._admitted, self._resting):
                assignments.discard(assignment)
            self._reaches.pop(assignment, None)
            return
        self._reaches[assignment] = reach
        if reach.span >= reach.span_max:
            self._over_span.add(assignment)
        elif reach.span <= reach.span_max // 2:
            self._over_span.discard(assignment)
            self._admitted.discard(assignment)

    def _beyond(self, assignment: Assignment) -> int:
        reach = self._reaches[assignment]
        return reach.span - reach.span_max

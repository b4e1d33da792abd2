"""Batches of ordered resources: one request at a time, in the topic's order.

A later row of a profile overwrites an earlier row, so an earlier row that arrives late leaves a
wrong value for ever. So each ordered *lane* (a resource of an application) has a line of its own:

    at most one request of a lane is in flight
    a retry is sent before anything newer, the pieces of a split batch left to right

If the API refuses a row or fails on it, other rows must be sent, because only a comparison with
them shows whether the row is the cause. So the row *steps aside*: it waits elsewhere (in
quarantine, under a hold, for its retry), and rows of other subjects pass it. The *subject* of a row
is the profile or device that it names. Rows of a subject that stepped aside stay behind its row.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from worker.core.delivery.request_history import Lane, lane_of
from worker.core.delivery.subjects import LinkedRows, Subject, is_newer_than, subject_of
from worker.core.model.batch import Batch
from worker.core.model.row import Row

# The rows of a batch that may be sent, and those that have to stay behind; None for no rows.
Split = Callable[[Batch, Callable[[Row], bool]], tuple[Batch | None, Batch | None]]


@dataclass(slots=True)
class _Line:
    """The batches of a lane that wait, each row before all later ones of its subject.

    `retry`: the whole lane waits for it until its time. `aside`: retries that rows of other
    subjects may pass, `subjects_aside` how many of their rows each subject has. `behind`: rows of
    subjects that are aside, set apart while the batches `behind_of` were aside.
    """

    linked: LinkedRows
    ready: deque[Batch] = field(default_factory=deque)
    retry: tuple[float, Batch] | None = None
    aside: list[tuple[float, Batch]] = field(default_factory=list)
    subjects_aside: Counter[Subject] = field(default_factory=Counter)
    behind: list[Batch] = field(default_factory=list)
    behind_of: frozenset[str] = frozenset()
    was_aside_last: bool = False

    def batches(self) -> list[Batch]:
        retry = [self.retry[1]] if self.retry is not None else []
        return [*retry, *(batch for _, batch in self.aside), *self.behind, *self.ready]

    def candidates(self, elsewhere: Iterable[Batch]) -> Iterator[Batch]:
        """The batches here of which some row may be sent before any other row is settled."""
        if self.retry is not None:
            yield self.retry[1]
            return
        yield from [batch for _, batch in self.aside]
        waits = self._waits(elsewhere)
        for batch in (*self.behind, *self.ready):
            if not all(waits(row) for row in batch.rows):
                yield batch

    def step_aside(self, batch: Batch, due_seconds: float) -> None:
        """Let rows of other subjects pass this retry."""
        self.aside.append((due_seconds, batch))
        self.subjects_aside.update(subject_of(row) for row in batch.rows)

    def replace(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every batch through `transform`: it stays, is replaced, or leaves."""
        self.ready = deque(batch for batch in map(transform, self.ready) if batch is not None)
        self.behind = [batch for batch in map(transform, self.behind) if batch is not None]
        passed = [(due, transform(batch)) for due, batch in self.aside]
        self.aside, self.subjects_aside = [], Counter()
        for due, batch in passed:
            if batch is not None:
                self.step_aside(batch, due)
        if self.retry is not None:
            due, batch = self.retry[0], transform(self.retry[1])
            self.retry = (due, batch) if batch is not None else None

    def pop(
        self, monotonic_seconds: float, elsewhere: Sequence[Batch], split: Split
    ) -> Batch | None:
        """Take out the next batch; None if none may be sent."""
        if self.retry is not None:
            due, batch = self.retry
            if due > monotonic_seconds:
                return None
            self.retry = None
            return batch
        # Retries and other rows alternate: a row without an answer in time is due again after each
        # of its requests.
        if self.was_aside_last and (ready := self.pop_ready(elsewhere, split)) is not None:
            self.was_aside_last = False
            return ready
        aside = self.pop_aside(monotonic_seconds)
        self.was_aside_last = aside is not None
        return aside or self.pop_ready(elsewhere, split)

    def pop_aside(self, monotonic_seconds: float) -> Batch | None:
        """Take out a retry that stepped aside and is due."""
        for place, (due, batch) in enumerate(self.aside):
            if due <= monotonic_seconds:
                del self.aside[place]
                self.subjects_aside -= Counter(subject_of(row) for row in batch.rows)
                return batch
        return None

    def pop_ready(self, elsewhere: Sequence[Batch], split: Split) -> Batch | None:
        """Take out the first rows that wait for no others; those before them stay behind."""
        names = frozenset(batch.id for batch in (*elsewhere, *(batch for _, batch in self.aside)))
        if self.behind_of != names:
            self.restore()
        if not names and not self.linked:
            return self.ready.popleft() if self.ready else None
        waits = self._waits(elsewhere)
        self.behind_of = names
        while self.ready:
            free, blocked = split(self.ready.popleft(), waits)
            if blocked is not None:
                self.behind.append(blocked)
            if free is not None:
                return free
        return None

    def _waits(self, elsewhere: Iterable[Batch]) -> Callable[[Row], bool]:
        """Return the test for rows that wait for another row.

        A row waits while its subject is aside, or while an older row of its subject is linked.
        """
        held = {subject_of(row) for batch in elsewhere for row in batch.rows}
        return lambda row: (
            (name := subject_of(row)) in held
            or name in self.subjects_aside
            or self.linked.precede(row)
        )

    def insert(self, batch: Batch, split: Split) -> None:
        """Add rows before the newer rows of their subjects, or behind all others.

        Rows without newer rows go along with others, unless older rows of their subjects follow.
        """
        self.restore()
        entering: Batch | None = batch
        before: list[Batch | None] = []
        while entering is not None and self.ready:
            waiting, newer = split(self.ready.popleft(), is_newer_than([entering]))
            before.append(waiting)
            if newer is not None:
                first, entering = split(entering, is_newer_than([newer, *self.ready]))
                before.append(first)
                if first is None or entering is None:
                    before.append(newer)
                else:
                    self.ready.appendleft(newer)
        before.append(entering)
        self.ready.extendleft(batch for batch in reversed(before) if batch is not None)

    def restore(self) -> None:
        """Put the rows that stayed behind back into the line, before the later rows."""
        self.ready.extendleft(reversed(self.behind))
        self.behind, self.behind_of = [], frozenset()


class OrderedLanes:
    """The lines of all ordered lanes.

    `ordered`: the topics and resources whose rows have an order.
    """

    def __init__(self, ordered: Collection[tuple[str, str]]) -> None:
        self._ordered = frozenset(ordered)
        self.topics = frozenset(topic for topic, _ in ordered)
        self._lines: dict[Lane, _Line] = {}
        self._linked = LinkedRows()

    def has_order(self, batch: Batch) -> bool:
        """True if the order of this batch's rows matters."""
        if not self._ordered:
            return False
        return (batch.rows[0].assignment.topic, batch.destination.resource) in self._ordered

    def link(self, rows: Iterable[Row]) -> None:
        """Let newer rows of their subjects wait for these rows, as far as they have an order."""
        for row in rows:
            if (row.assignment.topic, row.destination.resource) in self._ordered:
                self._linked.add(row)

    def unlink(self, rows: Iterable[Row]) -> None:
        """Let no row wait for these linked rows: they are settled, given back or promoted."""
        for row in rows:
            if (row.assignment.topic, row.destination.resource) in self._ordered:
                self._linked.remove(row)
                line = self._lines.get(row.destination[:2])
                if line is not None:
                    line.restore()

    def lanes(self) -> list[Lane]:
        """The lanes that have batches here; the one that was served last is the last."""
        return list(self._lines)

    def append(self, batch: Batch) -> None:
        """Add a batch behind the others of its lane."""
        self._line(lane_of(batch)).ready.append(batch)

    def insert(self, batch: Batch, split: Split) -> None:
        """Add a batch of rows that may be older than rows that wait here.

        Each row goes before the newer rows of its partition and subject. `split` takes rows out of
        a batch.
        """
        self._line(lane_of(batch)).insert(batch, split)

    def put_first(self, batches: Sequence[Batch]) -> None:
        """Add batches before the others of their lanes, in this order."""
        for batch in reversed(batches):
            line = self._line(lane_of(batch))
            line.restore()
            line.ready.appendleft(batch)

    def delay(self, batch: Batch, due_seconds: float) -> None:
        """Add a retry that the whole lane waits for.

        Raises:
            RuntimeError: the lane waits for another retry.
        """
        line = self._line(lane_of(batch))
        if line.retry is not None:
            raise RuntimeError(f"{lane_of(batch)} waits for {line.retry[1].id}, not for {batch.id}")
        line.retry = (due_seconds, batch)

    def step_aside(self, batch: Batch, due_seconds: float) -> None:
        """Add a retry that rows of other subjects may pass."""
        self._line(lane_of(batch)).step_aside(batch, due_seconds)

    def let_others_pass(self, batches: Iterable[Batch]) -> None:
        """Add batches that were failed probes: rows of other subjects are sent first."""
        for batch in batches:
            line = self._line(lane_of(batch))
            line.step_aside(batch, -math.inf)
            line.was_aside_last = True

    def pop(
        self, lane: Lane, monotonic_seconds: float, elsewhere: Sequence[Batch], split: Split
    ) -> Batch | None:
        """The next batch of this lane that may be sent; None if there is none.

        Args:
            lane: one that has no request in flight.
            monotonic_seconds: now.
            elsewhere: its batches that stepped aside and don't wait here.
            split: takes the rows that have to stay behind out of a batch.
        """
        line = self._lines.get(lane)
        if line is None:
            return None
        batch = line.pop(monotonic_seconds, elsewhere, split)
        if not line.batches():
            del self._lines[lane]
        elif batch is not None:
            self._lines[lane] = self._lines.pop(lane)
        return batch

    def next_due(self, lane: Lane) -> float | None:
        """When the next retry of this lane is due, in monotonic seconds; None with no retry."""
        line = self._lines[lane]
        if line.retry is not None:
            return line.retry[0]
        return min((due for due, _ in line.aside), default=None)

    def ready(self, lane: Lane) -> Collection[Batch]:
        """The batches of this lane that wait for nothing but their turn."""
        line = self._lines[lane]
        return () if line.retry is not None else line.ready

    def candidates(self, lane: Lane, elsewhere: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of this lane that don't wait for a row of their own subjects.

        Args:
            lane: one that has batches here.
            elsewhere: its batches that stepped aside and don't wait here.
        """
        return self._lines[lane].candidates(elsewhere)

    def batches(self) -> list[Batch]:
        """Every batch that waits here."""
        return [batch for line in self._lines.values() for batch in line.batches()]

    def replace(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every batch through `transform`: it stays, is replaced, or leaves."""
        for lane, line in list(self._lines.items()):
            line.replace(transform)
            if not line.batches():
                del self._lines[lane]

    def _line(self, lane: Lane) -> _Line:
        return self._lines.setdefault(lane, _Line(self._linked))

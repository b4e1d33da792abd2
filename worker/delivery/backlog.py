"""Every batch that isn't in flight: ready, delayed, or waiting under a hold; and what it means that one loses rows.

A batch that loses rows, or is split, goes on under a new id. Whatever is known of it (its failures, the bisection it is a piece
of) has to go on with it: that is seen to here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from worker.delivery.bisect import Bisections
from worker.delivery.hold import SYSTEMIC, Holds
from worker.delivery.queue import Queue
from worker.delivery.settlement import Settlement
from worker.delivery.split import first_row_apart, without
from worker.delivery.throttle import Throttles
from worker.model.batch import Batch
from worker.model.record import Assignment
from worker.model.row import Row
from worker.model.standing import Standing, StandingOf

NEVER_SENT = frozenset({Standing.ENDING, Standing.GONE})
# What one step sets aside or parks: 25 µs each for batches of one row, so 25 ms of the event loop.
STEP_ROWS_MAX = 1000


class Backlog:
    """What waits.

    Args:
        queue: the batches that go when it is their turn or their time.
        holds: those of applications on hold.
        bisections: what is being taken apart.
        throttles: those of applications that the API throttles.
        standing_of: how an assignment stands: rows of one that drains don't wait, rows of one that is gone aren't sent.
    """

    def __init__(
        self, queue: Queue, holds: Holds, bisections: Bisections, throttles: Throttles, standing_of: StandingOf
    ) -> None:
        self._queue = queue
        self._throttles = throttles
        self._holds = holds
        self._bisections = bisections
        self._standing_of = standing_of
        self._failures: dict[str, int] = {}

    def batches(self) -> tuple[Batch, ...]:
        """All of them."""
        return (*self._queue.batches(), *self._holds.waiting(), *self._throttles.batches())

    def take_failures(self, batch_id: str) -> int:
        """How often this batch has failed in a row; from now on nobody remembers."""
        return self._failures.pop(batch_id, 0)

    def note_failures(self, batch: Batch, failures: int) -> None:
        """So often has this batch failed in a row."""
        self._failures[batch.id] = failures

    def take_out(
        self, batch: Batch, is_out: Callable[[Row], bool], settlement: Settlement
    ) -> tuple[Batch | None, tuple[Row, ...]]:
        """The batch without some rows, under a new id if it lost any (None if none is left), and those rows."""
        kept, out = without(batch, is_out, "kept")
        if kept is batch:
            return batch, ()
        failures = self.take_failures(batch.id)
        if kept is None:
            settlement.refused.extend(self._bisections.end(batch.id))
        else:
            self._bisections.replace(batch.id, kept)
            if failures:
                self.note_failures(kept, failures)
        return kept, out

    def that_may_wait(self, batch: Batch, settlement: Settlement) -> Batch | None:
        """The batch without the rows of partitions that are being let go: those are given back."""
        return self._give_back(batch, lambda row: self._standing_of(row.assignment) is not Standing.OURS, settlement)

    def that_may_be_sent(self, batch: Batch, settlement: Settlement) -> Batch | None:
        """The batch without the rows of partitions that have been let go: those are given back."""
        return self._give_back(batch, lambda row: self._standing_of(row.assignment) in NEVER_SENT, settlement)

    def wait_under_hold(self, batch: Batch, settlement: Settlement) -> None:
        """Its application is on hold: it waits with the others."""
        kept = self.that_may_wait(batch, settlement)
        if kept is not None:
            self._holds.add(kept)

    def wait_for_turn(self, batch: Batch, settlement: Settlement) -> None:
        """Its application is throttled: it waits behind the others."""
        kept = self.that_may_wait(batch, settlement)
        if kept is not None:
            self._throttles.wait(kept)

    def next_probe(self, monotonic_seconds: float) -> Batch | None:
        """A batch of an application on hold that is to ask whether it still is; None while no such question is due.

        Where the API refuses everything, a single row asks, and each time another: one bad row would have a whole batch
        refused for ever, and no hold would ever end.
        """
        probe = self._holds.due(monotonic_seconds)
        if probe is None or len(probe.rows) == 1 or self._holds.reason(probe.destination.application_id) != SYSTEMIC:
            return probe
        first, rest = first_row_apart(probe)
        self.take_failures(probe.id)
        self._bisections.replace(probe.id, first, rest)
        self._holds.narrow_probe(probe, first, rest)
        return first

    def park(self) -> Settlement:
        """Give up rows that were chosen for parking: as many as one step bears, and the rest with the next steps."""
        settlement = Settlement()
        for batch in self._holds.take_chosen(STEP_ROWS_MAX):
            self.take_failures(batch.id)
            settlement.refused.extend(self._bisections.end(batch.id))
            settlement.parked.extend(batch.rows)
        return settlement

    def withdraw_waiting(self, assignments: Set[Assignment]) -> Settlement:
        """Give back the rows of these assignments that wait for an attempt or for a probe."""
        settlement = Settlement()
        take = self._taker(assignments, settlement)
        self._queue.replace_delayed(take)
        self._holds.replace_waiting(take)
        self._throttles.replace_waiting(take)
        return settlement

    def withdraw(self, assignments: Set[Assignment]) -> Settlement:
        """Give back every row of these assignments that isn't in flight."""
        settlement = self.withdraw_waiting(assignments)
        self._queue.replace_ready(self._taker(assignments, settlement))
        settlement.returned += self._bisections.withdraw_guilty(lambda row: row.assignment in assignments)
        return settlement

    def _taker(self, assignments: Set[Assignment], settlement: Settlement) -> Callable[[Batch], Batch | None]:
        def take(batch: Batch) -> Batch | None:
            return self._give_back(batch, lambda row: row.assignment in assignments, settlement)

        return take

    def _give_back(self, batch: Batch, is_out: Callable[[Row], bool], settlement: Settlement) -> Batch | None:
        kept, out = self.take_out(batch, is_out, settlement)
        settlement.returned.extend(out)
        return kept

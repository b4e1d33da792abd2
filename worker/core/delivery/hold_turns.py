"""Which rows are the probe of an application on hold, and where they go if the probe fails."""

from __future__ import annotations

from collections.abc import Set

from worker.core.delivery.fault_isolation import FaultIsolation
from worker.core.delivery.holds import SYSTEMIC, Holds
from worker.core.delivery.lane_turns import LaneTurns
from worker.core.delivery.ordering import OrderedLanes
from worker.core.delivery.outcome import Outcome, wait_seconds_min
from worker.core.delivery.request_history import Lane, lane_of
from worker.core.delivery.row_filter import RowFilter
from worker.core.delivery.settlement import Settlement
from worker.core.model.batch import Batch
from worker.core.model.clock import Now


class HoldTurns:
    """Takes probes from under the holds, and puts batches back.

    `busy` in its methods are the ordered lanes with a request in flight.

    Args:
        holds: where the batches wait.
        ordered: the lanes whose rows have an order.
        turns: the turns of these lanes.
        isolation: what is known about the batches' faults; it takes them apart.
        row_filter: the rows that may wait.
    """

    def __init__(
        self,
        holds: Holds,
        ordered: OrderedLanes,
        turns: LaneTurns,
        isolation: FaultIsolation,
        row_filter: RowFilter,
    ) -> None:
        self._holds = holds
        self._ordered = ordered
        self._turns = turns
        self._isolation = isolation
        self._row_filter = row_filter

    def wait(self, batch: Batch, settlement: Settlement, *, probes: int = 0) -> None:
        """Let this batch wait under the hold of its application.

        `probes`: how often it was a probe before.
        """
        kept = self._row_filter.that_may_wait(batch, settlement)
        if kept is not None:
            self._holds.add(kept, probes=probes)

    def next_probe(self, monotonic_seconds: float, busy: Set[Lane]) -> Batch | None:
        """A probe of an application on hold; None while none is due.

        If the API refuses everything, or if the batch was a failed probe several times, a single
        row is the probe, another row each time: with one bad row a whole batch would be refused
        again and again, and the hold would not end. If the API is too slow, a probe has as many
        rows as the API answers in time.
        """
        probe = self._holds.due(monotonic_seconds)
        if probe is None:
            return None
        if self._ordered.has_order(probe) and lane_of(probe) in busy:
            self._holds.end_probe(probe, probe, monotonic_seconds, wait_seconds_min=0.0)
            return None
        is_systemic = self._holds.reason(probe.destination.application_id) == SYSTEMIC
        is_single = is_systemic or self._holds.was_often_tried(probe)
        rows = 1 if is_single else self._isolation.rows_max(probe)
        if len(probe.rows) <= rows:
            return probe
        first, rest = self._isolation.first_rows_apart(probe, rows)
        if self._ordered.has_order(rest):
            # In its line it stays behind rows of the same subjects.
            self._holds.narrow_probe(probe, first, None)
            self._ordered.put_first([rest])
        else:
            self._holds.narrow_probe(probe, first, rest)
        return first

    def give_lanes_their_probes(self, busy: Set[Lane], settlement: Settlement) -> None:
        """Let the oldest batch of each ordered lane wait under the hold of its application."""
        for batch in self._turns.pop_for_holds(busy):
            self.wait(batch, settlement)

    def end_probe(self, batch: Batch, outcome: Outcome, now: Now, settlement: Settlement) -> None:
        """The application is still on hold: the batch waits again."""
        if not self._holds.is_probe(batch):
            self.wait(batch, settlement, probes=1)
            return
        kept = self._row_filter.that_may_wait(batch, settlement)
        wait = wait_seconds_min(outcome)
        self._holds.end_probe(batch, kept, now.monotonic_seconds, wait_seconds_min=wait)

"""Takes out the rows of a batch whose partition drains or was released."""

from __future__ import annotations

from collections.abc import Callable, Set

from worker.core.delivery.fault_isolation import FaultIsolation
from worker.core.delivery.ordering import OrderedLanes
from worker.core.delivery.settlement import Settlement
from worker.core.model.batch import Batch
from worker.core.model.record import Assignment, AssignmentState, StateOf
from worker.core.model.row import Row

NEVER_SENT = frozenset({AssignmentState.AWAITING_ANSWERS, AssignmentState.RELEASED})


class RowFilter:
    """Takes rows out of batches, and gives them back.

    Args:
        isolation: what is known about the batches' faults; it takes them apart.
        ordered: the lanes whose rows have an order.
        state_of: the state of an assignment: rows of one that drains don't wait, rows of one that
            is released aren't sent.
    """

    def __init__(self, isolation: FaultIsolation, ordered: OrderedLanes, state_of: StateOf) -> None:
        self._isolation = isolation
        self._ordered = ordered
        self._state_of = state_of

    def that_may_wait(self, batch: Batch, settlement: Settlement) -> Batch | None:
        """The batch without the rows of partitions that drain or left: those are given back."""
        state_of = self._state_of
        return self._give_back(
            batch,
            lambda row: state_of(row.assignment) is not AssignmentState.ASSIGNED,
            settlement,
        )

    def that_may_be_sent(self, batch: Batch, settlement: Settlement) -> Batch | None:
        """The batch without the rows of partitions that left: those are given back.

        Of an ordered lane also without those of partitions that drain, as all that waits in it.
        """
        if self._ordered.has_order(batch):
            return self.that_may_wait(batch, settlement)
        state_of = self._state_of
        return self._give_back(
            batch, lambda row: state_of(row.assignment) in NEVER_SENT, settlement
        )

    def taking_out(
        self, assignments: Set[Assignment], settlement: Settlement
    ) -> Callable[[Batch], Batch | None]:
        """Return a function that gives a batch without the rows of these assignments."""
        return lambda batch: self._give_back(
            batch, lambda row: row.assignment in assignments, settlement
        )

    def _give_back(
        self, batch: Batch, is_out: Callable[[Row], bool], settlement: Settlement
    ) -> Batch | None:
        remainder = self._isolation.without(batch, is_out)
        settlement.refused.extend(remainder.bad_rows)
        settlement.returned.extend(remainder.out)
        return remainder.kept

"""Every batch that isn't in flight, and the places where batches wait.

A batch waits in exactly one place: ready or delayed (`Queue`, or `OrderedLanes` if its rows have an
order), in quarantine (a row refused alone that waits for others to be accepted), under a hold
(`Holds`), or throttled (`Throttles`). None of these places knows another: batches are moved between
them here.

On its way into a place a batch loses the rows that may not wait there: those of partitions that
drain.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from itertools import chain

from worker.core.delivery.fault_isolation import FaultIsolation
from worker.core.delivery.flow_control import Backoff
from worker.core.delivery.hold_turns import HoldTurns
from worker.core.delivery.holds import SYSTEMIC, Holds
from worker.core.delivery.lane_turns import LaneTurns
from worker.core.delivery.limiter import DeliveryRules
from worker.core.delivery.ordering import OrderedLanes
from worker.core.delivery.queues import Quarantine, Queue
from worker.core.delivery.request_history import Lane
from worker.core.delivery.row_filter import RowFilter
from worker.core.delivery.settlement import Settlement, expired, joined
from worker.core.delivery.throttle import Throttles
from worker.core.model.batch import Batch
from worker.core.model.clock import Now, Trust
from worker.core.model.command import Severity, WriteLog
from worker.core.model.record import Assignment, StateOf
from worker.core.post_api.resource import RESOURCES

# The maximum number of rows that one step sets aside or parks: at 25 µs for a batch of one row, a
# step blocks the event loop for 25 ms.
STEP_ROWS_MAX = 1000
# How long rows wait whose age can't be checked yet.
AGE_WAIT_SECONDS = 5.0


class WaitingBatches:
    """Owns `queue`, `ordered` and `holds` with their turns, `quarantine`, `throttles`, `isolation`.

    Only the dispatcher and its handling of answers move batches through them.

    Args:
        rules: the bounds.
        backoff: the waits of throttled applications.
        state_of: the state of an assignment: rows of one that drains don't wait, rows of one that
            is released aren't sent.
    """

    def __init__(self, rules: DeliveryRules, backoff: Backoff, state_of: StateOf) -> None:
        self.queue = Queue()
        self.ordered = OrderedLanes(rules.ordered)
        self.quarantine = Quarantine(rules.hold_probe_seconds)
        self.holds = Holds(rules.hold_probe_seconds)
        self.throttles = Throttles(rules.limiter.requests_in_flight_max, backoff)
        self.isolation = FaultIsolation(
            systemic_ratio=rules.systemic_ratio,
            systemic_rows_min=rules.systemic_rows_min,
            request_seconds=rules.request_seconds,
        )
        self.turns = LaneTurns(
            self.ordered, self.quarantine, self.holds, self.throttles, self.isolation
        )
        self.row_filter = RowFilter(self.isolation, self.ordered, state_of)
        self.hold_turns = HoldTurns(
            self.holds, self.ordered, self.turns, self.isolation, self.row_filter
        )
        self.backoff = backoff
        self._event_age_seconds_max = rules.event_age_seconds_max

    def batches(self) -> list[Batch]:
        """Every batch that waits, in any place."""
        return [
            *self.queue.batches(),
            *self.ordered.batches(),
            *self.quarantine.batches(),
            *self.holds.waiting(),
            *self.throttles.batches(),
        ]

    def next_deadline(self, busy: Set[Lane]) -> float | None:
        """When a batch that waits for a time may continue, in monotonic seconds; None for none.

        In the past while a batch is ready. `busy`: ordered lanes with a request in flight.
        """
        if self.queue.has_ready:
            return -math.inf
        deadlines = (
            self.queue.next_due,
            self.quarantine.next_deadline(),
            self.holds.next_deadline(),
            self.throttles.next_deadline(),
            self.turns.next_deadline(busy),
        )
        return min((due for due in deadlines if due is not None), default=None)

    # --- ready, and delayed -----------------------------------------------------------------------

    def append(self, batches: Iterable[Batch]) -> None:
        """Add ready batches behind the others."""
        for batch in batches:
            if self.ordered.has_order(batch):
                self.ordered.append(batch)
            else:
                self.queue.append((batch,))

    def insert(self, batch: Batch) -> None:
        """Add a ready batch whose rows may be older than rows that wait.

        Where rows have an order, each goes before the newer rows of its subject.
        """
        if self.ordered.has_order(batch):
            self.ordered.insert(batch, self.isolation.set_apart)
        else:
            self.queue.append((batch,))

    def put_first(self, *batches: Batch) -> None:
        """Add ready batches before the others, in this order."""
        self.queue.put_first(*(batch for batch in batches if not self.ordered.has_order(batch)))
        self.ordered.put_first([batch for batch in batches if self.ordered.has_order(batch)])

    def delay(self, batches: Sequence[Batch], due_seconds: float) -> None:
        """Let these parts of a batch wait until that time, and their lane if it is ordered."""
        if self.ordered.has_order(batches[0]):
            self.turns.delay(batches, due_seconds)
            return
        for batch in batches:
            self.queue.delay(batch, due_seconds)

    def wait_for_turn(self, batch: Batch) -> None:
        """Let this batch, which was throttled, wait before the others of its application."""
        if self.ordered.has_order(batch):
            self.ordered.put_first([batch])
        else:
            self.throttles.wait_first(batch)

    def ready(self) -> Iterable[Batch]:
        """Every batch that may be sent as soon as it has its turn."""
        return chain(self.queue.ready(), self.turns.ready())

    def candidates(self) -> Iterator[Batch]:
        """Every batch whose turn comes while nothing is accepted, under no hold or throttle."""
        yield from self.queue.batches()
        yield from self.turns.candidates()

    # --- holds and quarantine ---------------------------------------------------------------------

    def hold(
        self,
        application_id: int,
        reason: str,
        now: Now,
        settlement: Settlement,
        *,
        forbidden_at: int | None,
    ) -> None:
        """Put the application on hold, or note the newer reason: see `Holds.begin`."""
        if self.holds.reason(application_id) != reason:
            fields: dict[str, str | int | float] = {
                "application_id": application_id,
                "reason": reason,
            }
            settlement.logs.append(WriteLog(Severity.ERROR, "application_held", fields))
        self.holds.begin(application_id, reason, now, forbidden_at=forbidden_at)

    def heal(self, application_id: int, settlement: Settlement) -> None:
        """End the hold: its batches are ready."""
        healed = self.holds.heal(application_id)
        self.queue.append([batch for batch in healed if not self.ordered.has_order(batch)])
        self.ordered.let_others_pass(batch for batch in healed if self.ordered.has_order(batch))
        fields: dict[str, str | int | float] = {"application_id": application_id}
        settlement.logs.append(WriteLog(Severity.INFO, "application_healed", fields))

    def hold_systemically(
        self, application_id: int, others: Collection[Batch], now: Now, settlement: Settlement
    ) -> None:
        """Hold an application of which the API refuses every request.

        Its quarantined rows wait under the hold, and so do `others`.

        Rows whose bisection ends with this are ordinary rows again, in as few batches as possible.
        The others stay unproven.
        """
        if self.holds.reason(application_id) is None:
            self.hold(application_id, SYSTEMIC, now, settlement, forbidden_at=None)
        quarantined = self.quarantine.release(application_id, lambda _: True)
        unproven = [batch for batch in quarantined if self.isolation.concerns(batch.id)]
        ordinary = [batch for batch in quarantined if not self.isolation.concerns(batch.id)]
        for batch in (*unproven, *joined([*ordinary, *others], "held")):
            self.hold_turns.wait(batch, settlement)

    def hold_overdue(self, now: Now, settlement: Settlement) -> None:
        """Hold an application whose quarantined rows have waited too long.

        The application may have no other row, and operators have to see that. Rows of
        partitions that drain are given back instead, and are no reason for a hold.
        """
        for application_id in self.quarantine.overdue(now.monotonic_seconds):
            for batch in self.quarantine.release(application_id, lambda _: True):
                kept = self.row_filter.that_may_wait(batch, settlement)
                if kept is not None:
                    self.quarantine.add(kept, now.monotonic_seconds)
            if self.quarantine.of(application_id):
                self.hold_systemically(application_id, (), now, settlement)

    def wait_in_quarantine(self, batch: Batch, now: Now, settlement: Settlement) -> None:
        """Let this row wait until others are accepted; if some were, it is sent again at once.

        If its partition drains, it waits only for requests that are in flight or ready: see
        `Dispatcher.take_back_undecided`.
        """
        if self.isolation.may_be_sent_again(batch):
            self.put_first(batch)
        elif (kept := self.row_filter.that_may_be_sent(batch, settlement)) is not None:
            self.quarantine.add(kept, now.monotonic_seconds)

    # --- rows that leave --------------------------------------------------------------------------

    def park(self) -> Settlement:
        """Take out some of the rows chosen for parking; called until `holds` has none left."""
        settlement = Settlement()
        for batch in self.holds.take_chosen(STEP_ROWS_MAX):
            settlement.refused.extend(self.isolation.end(batch.id))
            settlement.parked.extend(batch.rows)
        return settlement

    def take_back_waiting(self, assignments: Set[Assignment]) -> Settlement:
        """Give back the rows of these assignments that wait for a time or a probe.

        Of ordered lanes every row: if one were given back and a later row sent, the next owner
        would send the earlier row last.
        """
        settlement = Settlement()
        take = self.row_filter.taking_out(assignments, settlement)
        self.queue.replace_delayed(take)
        self.ordered.replace(take)
        self.quarantine.replace(
            lambda batch: take(batch) if self.ordered.has_order(batch) else batch
        )
        self.holds.replace_waiting(take)
        self.throttles.replace_waiting(take)
        return settlement

    def take_back(self, assignments: Set[Assignment]) -> Settlement:
        """Give back every row of these assignments that isn't in flight."""
        settlement = self.take_back_waiting(assignments)
        take = self.row_filter.taking_out(assignments, settlement)
        self.queue.replace_ready(take)
        self.quarantine.replace(take)
        bad_rows = self.isolation.take_bad_rows(lambda row: row.assignment in assignments)
        settlement.returned.extend(refusal.row for refusal in bad_rows)
        return settlement

    def without_expired(
        self, batch: Batch, now: Now, trust: Trust, settlement: Settlement
    ) -> Batch | None:
        """The batch as it may be sent: without events that became too old while it waited.

        If one of them were sent, the API would refuse the whole batch.

        While the local clock is doubted, no event counts as too old; while it is unvouched, such
        events wait.
        """
        earliest = int(now.unix_seconds) - self._event_age_seconds_max
        if (
            not RESOURCES[batch.destination.resource].is_dated
            or batch.oldest_event_timestamp >= earliest
            or trust is Trust.DOUBTED
        ):
            return batch
        was_probe = self.holds.is_probe(batch)
        if trust is Trust.UNVOUCHED:
            # Rows that have an order must wait together.
            kept, aged = (
                (None, batch)
                if self.ordered.has_order(batch)
                else self.isolation.set_apart(batch, lambda row: row.event_timestamp < earliest)
            )
            waiting = None if aged is None else self.row_filter.that_may_wait(aged, settlement)
            if waiting is not None:
                self.delay((waiting,), now.monotonic_seconds + AGE_WAIT_SECONDS)
                settlement.waits_for_time = True
        else:
            remainder = self.isolation.without(batch, lambda row: row.event_timestamp < earliest)
            kept = remainder.kept
            settlement.refused.extend(remainder.bad_rows)
            settlement.refused.extend(expired(row, earliest) for row in remainder.out)
        if was_probe:
            self.holds.replace_probe(batch, kept, now.monotonic_seconds)
        return kept

"""Every batch that isn't in flight: ready, delayed, on the bench, or under a hold; and what it
means that one loses rows.

A batch that loses rows, or is split, goes on under a new id. Whatever is known of it
(`examination`) has to go on with it: that is seen to here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from dataclasses import dataclass

from worker.core.delivery.examination import Examination
from worker.core.delivery.hold import SYSTEMIC, Holds
from worker.core.delivery.outcome import wait_seconds_min
from worker.core.delivery.quarantine import Quarantine
from worker.core.delivery.queue import Queue
from worker.core.delivery.settlement import Settlement
from worker.core.delivery.split import first_rows_apart, joined, piece, without
from worker.core.delivery.throttle import Throttles
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import Log, Severity
from worker.core.model.record import Assignment, AssignmentState, StateOf
from worker.core.model.row import Row

NEVER_SENT = frozenset({AssignmentState.AWAITING_ANSWERS, AssignmentState.RELEASED})
# What one step sets aside or parks: 25 µs each for batches of one row, so 25 ms of the event loop.
STEP_ROWS_MAX = 1000
# Rows whose age can't be judged yet are looked at again so often.
AGE_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where batches wait: for their turn or time, for others to be accepted, for a probe, or until
    they aren't throttled.
    """

    queue: Queue
    bench: Quarantine
    holds: Holds
    throttles: Throttles


class Backlog:
    """What waits.

    Args:
        places: where.
        examination: what is known of each.
        standing_of: how an assignment stands: rows of one that drains don't wait, rows of one that
            is gone aren't sent.
    """

    def __init__(self, places: Places, examination: Examination, standing_of: StateOf) -> None:
        self._queue = places.queue
        self._quarantine = places.bench
        self._holds = places.holds
        self._throttles = places.throttles
        self._examination = examination
        self._standing_of = standing_of

    def batches(self) -> tuple[Batch, ...]:
        """All of them."""
        return (
            *self._queue.batches(),
            *self._quarantine.batches(),
            *self._holds.waiting(),
            *self._throttles.batches(),
        )

    def take_out(
        self, batch: Batch, is_out: Callable[[Row], bool], settlement: Settlement
    ) -> tuple[Batch | None, tuple[Row, ...]]:
        """The batch without some rows, under a new id if it lost any (None if none is left), and
        those rows.
        """
        kept, out = without(batch, is_out, "kept")
        if kept is batch:
            return batch, ()
        if kept is None:
            settlement.refused.extend(self._examination.end(batch.id))
        else:
            self._examination.replace(batch.id, kept)
        return kept, out

    def put_off(
        self, batch: Batch, is_out: Callable[[Row], bool], now: Now, settlement: Settlement
    ) -> Batch | None:
        """The batch without rows that can't be judged before the time is known: these wait for a
        while. None if all do.
        """
        kept, out = without(batch, is_out, "kept")
        if kept is not None:
            self._examination.replace(batch.id, kept)
        waiting = self.that_may_wait(
            batch if kept is None else piece(batch, out, "aged"), settlement
        )
        if waiting is not None:
            self._queue.delay(waiting, now.monotonic_seconds + AGE_WAIT_SECONDS)
            settlement.waits_for_time = True
        return kept

    def that_may_wait(self, batch: Batch, settlement: Settlement) -> Batch | None:
        """The batch without the rows of partitions that are being let go: those are given back."""
        return self._give_back(
            batch,
            lambda row: self._standing_of(row.assignment) is not AssignmentState.ASSIGNED,
            settlement,
        )

    def that_may_be_sent(self, batch: Batch, settlement: Settlement) -> Batch | None:
        """The batch without the rows of partitions that have been let go: those are given back."""
        return self._give_back(
            batch, lambda row: self._standing_of(row.assignment) in NEVER_SENT, settlement
        )

    def wait_under_hold(self, batch: Batch, settlement: Settlement, *, probes: int = 0) -> None:
        """Its application is on hold: it waits with the others. `probes`: how often it has asked in
        vain.
        """
        kept = self.that_may_wait(batch, settlement)
        if kept is not None:
            self._holds.add(kept, probes=probes)

    def quarantine(self, batch: Batch, monotonic_seconds: float, settlement: Settlement) -> None:
        """This row was refused alone: it is asked again once others of its application have been
        accepted.
        """
        if self._examination.may_be_asked_again(batch):
            self._queue.put_first(batch)
            return
        kept = self.that_may_wait(batch, settlement)
        if kept is not None:
            self._quarantine.add(kept, monotonic_seconds)

    def quarantined(self, application_id: int) -> list[Batch]:
        """The rows of this application that wait for others to be accepted."""
        return self._quarantine.of(application_id)

    def release_quarantined(self, application_id: int) -> None:
        """Something of this application has been accepted: those who may be asked again are."""
        self._queue.put_first(
            *self._quarantine.release(application_id, self._examination.may_be_asked_again)
        )

    def hold(
        self,
        application_id: int,
        reason: str,
        now: Now,
        settlement: Settlement,
        *,
        forbidden_at: int | None,
    ) -> None:
        """Put the application on hold, or note the newer reason.

        `forbidden_at`: see `Holds.begin`.
        """
        if self._holds.reason(application_id) != reason:
            fields: dict[str, str | int | float] = {
                "application_id": application_id,
                "reason": reason,
            }
            settlement.logs.append(Log(Severity.ERROR, "application_held", fields))
        self._holds.begin(application_id, reason, now, forbidden_at=forbidden_at)

    def hold_systemically(
        self, application_id: int, others: Collection[Batch], now: Now, settlement: Settlement
    ) -> None:
        """Whatever the API is asked of this application, it refuses: its accused rows wait under
        the hold, and so do these.

        Those whose bisection is given up with it are ordinary rows again, in as few batches as may
        be. The others stay accused.
        """
        if self._holds.reason(application_id) is None:
            self.hold(application_id, SYSTEMIC, now, settlement, forbidden_at=None)
        benched = self._quarantine.release(application_id, lambda _: True)
        quarantined = [batch for batch in benched if self._examination.concerns(batch.id)]
        ordinary = [batch for batch in benched if not self._examination.concerns(batch.id)]
        for batch in (*quarantined, *joined([*ordinary, *others], "held")):
            self.wait_under_hold(batch, settlement)

    def hold_overdue(self, now: Now, settlement: Settlement, *, is_healthy: bool) -> None:
        """Where nothing was accepted for long, accused rows may be all that is left of an
        application: that has to be seen.

        Not while the destination itself fails: then everything waits, and is seen to.
        """
        for application_id in self._quarantine.overdue(now.monotonic_seconds):
            if is_healthy:
                self.hold_systemically(application_id, (), now, settlement)
            else:
                self._quarantine.postpone(application_id, now.monotonic_seconds)

    def heal(self, application_id: int, settlement: Settlement) -> None:
        """The hold is over: what waited is ready."""
        self._queue.append(self._holds.heal(application_id))
        settlement.logs.append(
            Log(Severity.INFO, "application_healed", {"application_id": application_id})
        )

    def wait_for_probe(self, batch: Batch, now: Now, settlement: Settlement) -> None:
        """Its application is on hold, and it has asked in vain: it waits with the others, without
        the rows that may not.
        """
        if not self._holds.is_probe(batch):
            self.wait_under_hold(batch, settlement, probes=1)
            return
        wait = wait_seconds_min(settlement.outcome)
        kept = self.that_may_wait(batch, settlement)
        self._holds.end_probe(batch, kept, now.monotonic_seconds, wait_seconds_min=wait)

    def wait_for_turn(self, batch: Batch, settlement: Settlement) -> None:
        """Its application is throttled: it waits behind the others."""
        kept = self.that_may_wait(batch, settlement)
        if kept is not None:
            self._throttles.wait(kept)

    def next_probe(self, monotonic_seconds: float) -> Batch | None:
        """A batch of an application on hold that is to ask whether it still is; None while no such
        question is due.

        Where the API refuses everything, a single row asks, and each time another: one bad row
        would have a whole batch refused for ever, and no hold would ever end. Where it is too slow,
        as many rows ask as it takes in time.
        """
        probe = self._holds.due(monotonic_seconds)
        if probe is None:
            return None
        is_systemic = self._holds.reason(probe.destination.application_id) == SYSTEMIC
        rows = 1 if is_systemic else self._examination.rows_max(probe)
        if len(probe.rows) <= rows:
            return probe
        first, rest = first_rows_apart(probe, rows)
        self._examination.replace(probe.id, first, rest)
        self._holds.narrow_probe(probe, first, rest)
        return first

    def cut(self, batch: Batch) -> Batch:
        """As much of it as a request may have at present; the rest is ready, before the others."""
        rows = self._examination.rows_max(batch)
        if len(batch.rows) <= rows:
            return batch
        first, rest = first_rows_apart(batch, rows)
        self._examination.replace(batch.id, first, rest)
        self._queue.put_first(rest)
        return first

    def park(self) -> Settlement:
        """Give up rows that were chosen for parking: as many as one step bears, and the rest with
        the next steps.
        """
        settlement = Settlement()
        for batch in self._holds.take_chosen(STEP_ROWS_MAX):
            settlement.refused.extend(self._examination.end(batch.id))
            settlement.parked.extend(batch.rows)
        return settlement

    def take_back_waiting(self, assignments: Set[Assignment]) -> Settlement:
        """Give back the rows of these assignments that wait for an attempt or for a probe."""
        settlement = Settlement()
        take = self._taker(assignments, settlement)
        self._queue.replace_delayed(take)
        self._quarantine.replace(take)
        self._holds.replace_waiting(take)
        self._throttles.replace_waiting(take)
        return settlement

    def take_back(self, assignments: Set[Assignment]) -> Settlement:
        """Give back every row of these assignments that isn't in flight."""
        settlement = self.take_back_waiting(assignments)
        self._queue.replace_ready(self._taker(assignments, settlement))
        settlement.returned += self._examination.withdraw_guilty(
            lambda row: row.assignment in assignments
        )
        return settlement

    def _taker(
        self, assignments: Set[Assignment], settlement: Settlement
    ) -> Callable[[Batch], Batch | None]:
        def take(batch: Batch) -> Batch | None:
            return self._give_back(batch, lambda row: row.assignment in assignments, settlement)

        return take

    def _give_back(
        self, batch: Batch, is_out: Callable[[Row], bool], settlement: Settlement
    ) -> Batch | None:
        kept, out = self.take_out(batch, is_out, settlement)
        settlement.returned.extend(out)
        return kept

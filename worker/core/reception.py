"""What is received, on its way to the batchers; and what is put aside while nobody vouches for the
clock.

Routes between the rooms like the pipeline does, and owns no rule but the order of what waits.
"""

from __future__ import annotations

from worker.core.model.clock import Now, Trust
from worker.core.model.event import Received, TailRead
from worker.core.model.fault import Reason, Rejection
from worker.core.model.record import Assignment, AssignmentState
from worker.core.settlement import Components, RowFlow
from worker.core.wire import commit_metadata
from worker.core.wire.record_headers import came_from

AGES = frozenset({Reason.TOO_OLD, Reason.IN_FUTURE})


class Receiving:
    """Takes chunks in. What is put aside isn't in the books: to everybody else it hasn't been
    received yet.

    It is bounded by what was being received when reception stopped: a slice for each partition.
    """

    def __init__(self, rooms: Components, settling: RowFlow) -> None:
        self._rooms = rooms
        self._routes = rooms.routes
        self._ledger = rooms.ledger
        self._dispatcher = rooms.dispatcher
        self._clock = rooms.clock
        self._settling = settling
        self._aside: dict[Assignment, list[Received]] = {}

    @property
    def is_waiting(self) -> bool:
        """True if anything waits for the clock to be vouched for."""
        return bool(self._aside)

    def take(self, event: Received, now: Now) -> None:
        """A chunk came.

        What comes for a partition that is being let go is left for its next owner.
        """
        if self._ledger.offsets.state(event.assignment) is not AssignmentState.ASSIGNED:
            return
        if event.records:
            self._clock.note_record(event.records[-1].timestamp, now)
        if event.assignment in self._aside or not self._may_be_judged(event, now):
            self._aside.setdefault(event.assignment, []).append(event)
        else:
            self._receive(event, now)

    def go_on(self, now: Now) -> None:
        """What was put aside goes its way once the clock is vouched for; what has been let go
        meanwhile is forgotten.
        """
        if not self._aside:
            return
        state = self._ledger.offsets.state
        aside = {
            one: events
            for one, events in self._aside.items()
            if state(one) is AssignmentState.ASSIGNED
        }
        if self._clock.trust(now) is Trust.VOUCHED:
            self._aside = {}
            for events in aside.values():
                for event in events:
                    self._receive(event, now)
        else:
            self._aside = aside

    def restore(self, event: TailRead, now: Now) -> None:
        """Remember what an earlier owner has settled: what it delivered by key, what it parked by
        content, and nothing else.
        """
        start = event.start
        told = commit_metadata.of(start)
        if told is None:
            return
        route = self._routes[start.assignment.topic]
        settled = [record for record in event.records if told.names(record.offset, start.position)]
        rows = route.intake.read_again(start.assignment, settled, self._clock.best_guess(now))
        received = start.assignment.topic_partition
        # By origin: a record that came home from parking and was refused is named by where it was
        # first received.
        accepted = [
            (row, place)
            for row in rows
            if (place := came_from(row.record, received)) not in event.refused
        ]
        delivered = [
            row for row, place in accepted if route.is_parking or place not in event.parked
        ]
        parked = [row for row, place in accepted if not route.is_parking and place in event.parked]
        route.window.restore(delivered, parked, now)

    def _may_be_judged(self, event: Received, now: Now) -> bool:
        trust = self._clock.trust(now)
        if trust is Trust.UNVOUCHED:
            # Read twice, but only until the API's first answer: most records are judged without a
            # clock.
            _, rejections = self._routes[event.assignment.topic].intake.read(
                event.assignment, event.records, now
            )
            return not any(_is_for_age(rejection) for rejection in rejections)
        return trust is Trust.VOUCHED

    def _receive(self, event: Received, now: Now) -> None:
        assignment = event.assignment
        route = self._routes[assignment.topic]
        records = self._ledger.receive(assignment, event.records, event.next_offset)
        self._ledger.account.last_poll_unix_seconds = now.unix_seconds
        self._rooms.commits.note_progress()
        remarks = self._ledger.account.topics[assignment.topic].remarks
        rows, rejections = route.intake.read(assignment, records, now, remarks)
        self._ledger.reserve(rows)
        self._ledger.reserve(rejections)
        self._settling.write_dead_letters(rejections)
        admission = route.window.admit(rows, now.monotonic_seconds)
        self._ledger.drop_duplicates(admission.duplicates)
        fresh = (
            self._settling.split_off_parked(admission.fresh)
            if route.parks and self._dispatcher.is_parking
            else admission.fresh
        )
        self._settling.submit(route.batcher.add(fresh, now.monotonic_seconds))


def _is_for_age(rejection: Rejection) -> bool:
    """True if nothing but the event's time is wrong."""
    return all(fault.reason in AGES for fault in rejection.faults)

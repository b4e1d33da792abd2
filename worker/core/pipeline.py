"""Calls the components in order: events in, commands out. Its only rule is when to park.

    Received → intake → window → batcher → dispatcher → Post … Answered → settle → Commit

Pure and synchronous: each event comes with its time, the backoff gets its random numbers from
outside, and the result is a list of commands. So any history can be a test of ten lines, and can be
replayed.

Calls go one way: pipeline → reception, draining → settlement → components.
"""

from __future__ import annotations

from typing import assert_never

from worker.core.counters.snapshot import Snapshot
from worker.core.draining import DrainGoal, Draining
from worker.core.model.answer import Answer
from worker.core.model.clock import Now, Trust
from worker.core.model.command import Command, Pause, Resume, Severity, StopIntake, WriteLog
from worker.core.model.event import (
    Answered,
    ApiTimeRead,
    Assigned,
    CommitFailed,
    Committed,
    DeadLettersAcknowledged,
    DeadLettersFailed,
    Distributed,
    Event,
    KeyChanged,
    LogTruncated,
    Lost,
    OffsetsSkipped,
    ParkingAcknowledged,
    ParkingFailed,
    Received,
    Revoked,
    StopRequested,
    TailRead,
    TimePassed,
)
from worker.core.model.record import Assignment, AssignmentState
from worker.core.progress.ledger import Rebalance
from worker.core.progress.pressure import ReceptionControl
from worker.core.reception import Receiving
from worker.core.route import Components, RouteRole
from worker.core.settlement import RowFlow
from worker.core.status import build_status


class Pipeline:
    """The decisions of the worker, from its components.

    `clock` knows whether the local clock can be trusted.

    Args:
        components: the parts that decide, each within its subject.
        reception: decides which partitions are received.
    """

    def __init__(self, components: Components, reception: ReceptionControl) -> None:
        self._components = components
        self._routes = components.routes
        self._dispatcher = components.dispatcher
        self._ledger = components.ledger
        self.clock = components.clock
        self._flow = RowFlow(components)
        self._receiving = Receiving(components, self._flow)
        self._draining = Draining(components, self._flow)
        self._reception = reception
        self._topics_with_parking = frozenset(
            topic
            for topic, route in components.routes.items()
            if route.role is RouteRole.SOURCE_WITH_PARKING
        )
        # The partitions for which `_park` has to check whether a hold alone pauses them.
        self._to_check: set[Assignment] = set()

    @property
    def is_finished(self) -> bool:
        """True after `Finish`: no event is handled any more."""
        return self._draining.is_finished

    def handle(self, event: Event, now: Now) -> list[Command]:
        """Take in an event; return the commands, in the order in which they are to be executed."""
        return [*self._take_in(event, now), *self._move_on(now)]

    def next_deadline(self) -> float | None:
        """Return when `TimePassed` is due if no event comes before, in monotonic seconds.

        None where nothing is due by time alone.
        """
        deadlines = [
            self._dispatcher.next_deadline(),
            self._ledger.commits.next_deadline(),
            self._draining.next_deadline(),
            self.clock.next_deadline(),
            *[route.batcher.next_deadline() for route in self._routes.values()],
        ]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # --- what happened ----------------------------------------------------------------------------

    def _take_in(self, event: Event, now: Now) -> list[Command]:
        match event:
            case Received():
                self._reception.receive(event.assignment)
                return self._receiving.take(event, now)
            case TailRead():
                self._receiving.restore(event, now)
            case Answered(batch_id=batch_id, answer=answer):
                return self._answered(batch_id, answer, now)
            case ApiTimeRead(answer=answer):
                self.clock.note_api_time(answer, now)
            case TimePassed():
                pass
            case (
                DeadLettersAcknowledged()
                | DeadLettersFailed()
                | ParkingAcknowledged()
                | ParkingFailed()
            ):
                return self._flow.end_write(event, now)
            case Committed() | CommitFailed():
                return self._commit_ended(event, now)
            case Assigned() | Revoked() | Lost() | OffsetsSkipped() | LogTruncated():
                return self._rebalanced(event, now)
            case Distributed(partitions=partitions):
                self._ledger.abandoned.keep_only(partitions)
            case KeyChanged(application_id=application_id):
                self._dispatcher.waiting.holds.try_again(application_id, now.monotonic_seconds)
            case StopRequested(deadline_seconds=deadline):
                assignments = tuple(self._ledger.offsets)
                drain = self._draining.begin(DrainGoal.STOP, assignments, deadline, now)
                return [StopIntake(), *drain]
            case _:
                assert_never(event)
        return []

    def _answered(self, batch_id: str, answer: Answer, now: Now) -> list[Command]:
        self.clock.note_answer(answer, now)
        result = self._dispatcher.answer(batch_id, answer, now)
        if result.needs_records:
            # The last part of the memory is for partitions within their span: those over their span
            # could fill it with rows that would wait as well.
            if not self._ledger.memory.is_high:
                self._reception.admit(result.needs_records)
            self._ledger.memory.resume()
        return self._flow.end_request(result, answer, now)

    def _commit_ended(self, event: Committed | CommitFailed, now: Now) -> list[Command]:
        if isinstance(event, Committed):
            self._ledger.commit(event, now)
            return []
        partitions = len(event.positions)
        commands = [_warning("commit_failed", detail=event.detail, partitions=partitions)]
        limit = self._ledger.fail_commit(event)
        if limit is not None:
            commands.append(_warning("commit_metadata_limited", characters=limit))
            self._draining.commit_again()
        return commands

    def _rebalanced(
        self, event: Assigned | Revoked | Lost | OffsetsSkipped | LogTruncated, now: Now
    ) -> list[Command]:
        match event:
            case Assigned(starts=starts):
                self._ledger.count_rebalance(Rebalance.ASSIGNED)
                if not self._draining.is_stopping:
                    self._ledger.assign(starts)
                return [WriteLog(Severity.INFO, "partitions_assigned", {"partitions": len(starts)})]
            case Revoked(assignments=assignments, deadline_seconds=deadline):
                self._ledger.count_rebalance(Rebalance.REVOKED)
                drain = self._draining.begin(DrainGoal.RELEASE, assignments, deadline, now)
                fields: dict[str, str | int | float] = {"partitions": len(assignments)}
                return [WriteLog(Severity.INFO, "partitions_revoked", fields), *drain]
            case Lost(assignments=assignments):
                self._ledger.count_rebalance(Rebalance.LOST)
                line = _warning("partitions_lost", partitions=len(assignments))
                return [line, *self._draining.release(assignments, now)]
            case OffsetsSkipped(assignment=assignment, count=count):
                self._ledger.skip(assignment, count)
                partition = str(assignment.topic_partition)
                skipped: dict[str, str | int | float] = {"partition": partition, "offsets": count}
                return [WriteLog(Severity.ERROR, "offsets_skipped", skipped)]
            case LogTruncated(assignment=assignment):
                self._ledger.truncate(assignment)
                return [_truncation(event)]

    # --- what follows, after every event ----------------------------------------------------------

    def _move_on(self, now: Now) -> list[Command]:
        commands = self._receiving.resume(now)
        for route in self._routes.values():
            self._flow.submit(route.batcher.due(now.monotonic_seconds))
        commands += self._flow.send(now)
        commands += self.clock.look(now, is_waiting=self._receiving.is_waiting)
        # The last commit of a drain comes before the regular commit. If the regular commit were
        # first and failed each time, a drain would always have a commit in flight to wait for.
        commands += self._draining.advance(now)
        if self._ledger.commits.is_due(now.monotonic_seconds) and not self.is_finished:
            commands += self._ledger.commits.start(now.monotonic_seconds)
        commands += self._change_reception(now)
        commands += self._park(now)
        return commands

    def _change_reception(self, now: Now) -> list[Command]:
        offsets = self._ledger.offsets
        # Only the partitions that have changed: with hundreds of partitions, to check all of them
        # would cost more than the event itself.
        reaches = {
            assignment: offsets.reach(assignment)
            if offsets.state(assignment) is AssignmentState.ASSIGNED
            else None
            for assignment in offsets.take_changed()
        }
        held = self._dispatcher.waiting.holds.partitions
        held_changed = held.take_changed()
        self._to_check |= held_changed
        self._to_check |= reaches.keys()
        # More records of a parking topic would only wait while its application is on hold.
        resting = {
            assignment: assignment in held
            for assignment in held_changed
            if self._routes[assignment.topic].role is RouteRole.PARKING
        }
        waits_for_clock = self._receiving.is_waiting or self.clock.trust(now) is Trust.DOUBTED
        stop_all = self._ledger.memory.is_high or self._flow.is_blocked or waits_for_clock
        pause, resume = self._reception.change(reaches, resting=resting, stop_all=stop_all)
        commands: list[Command] = []
        if pause:
            commands.append(Pause(pause))
        if resume:
            commands.append(Resume(resume))
        return commands

    def _park(self, now: Now) -> list[Command]:
        """Park the rows on hold that alone pause a partition or fill the memory."""
        memory, waiting = self._ledger.memory, self._dispatcher.waiting
        over_span = {
            assignment: self._ledger.offsets.tracker(assignment).safe_position
            for assignment in self._to_check
            if assignment in self._reception.over_span
            and assignment.topic in self._topics_with_parking
        }
        # While chosen rows are still here, their hold can't choose again: its partitions stay in
        # the set and are checked after that.
        if not waiting.holds.has_chosen:
            self._to_check.clear()
        if over_span or memory.is_high:
            bytes_min = memory.low_bytes if memory.is_high else memory.held_bytes + 1
            waiting.holds.choose_for_parking(
                over_span, bytes_min=bytes_min, topics=self._topics_with_parking
            )
        return self._flow.settle(waiting.park(), now) if waiting.holds.has_chosen else []

    def snapshot(self, now: Now) -> Snapshot:
        """Return the state at this moment, for operators."""
        return build_status(
            self._components,
            self._flow,
            now,
            paused=self._reception.paused,
            is_stopping=self._draining.is_stopping,
        )


def _warning(event: str, **fields: str | int | float) -> Command:
    return WriteLog(Severity.WARNING, event, fields)


def _truncation(event: LogTruncated) -> Command:
    return WriteLog(
        Severity.ERROR,
        "log_truncated",
        {
            "partition": str(event.assignment.topic_partition),
            "position": event.position,
            "resumed_at": event.resumed_at,
            "may_pass_over_records": not event.is_exact,
        },
    )

"""The rooms in order: events in, commands out. Routes everything, owns no rule.

    Received → intake → window → batcher → dispatcher → Post … Answered → settle → Commit

Pure and synchronous: time comes in with each event, chance was given to the backoff, and everything
it wants done goes out as a command. So each of its histories can be told as a test of ten lines,
and replayed.
"""

from __future__ import annotations

from typing import assert_never

from worker.core.counters.snapshot import Snapshot
from worker.core.draining import Draining
from worker.core.model.clock import ClockStatus, Now, Trust
from worker.core.model.command import (
    Command,
    Commit,
    Log,
    Pause,
    Post,
    Resume,
    Severity,
    StopIntake,
)
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
from worker.core.progress.pressure import ReceptionControl
from worker.core.reception import Receiving
from worker.core.settlement import Components, RowFlow
from worker.core.status import build_status


class Pipeline:
    """The worker's whole judgement.

    Args:
        rooms: what it routes between.
        intakes: which partitions are received of.
    """

    def __init__(self, rooms: Components, intakes: ReceptionControl) -> None:
        self._commands: list[Command] = []
        self._routes = rooms.routes
        self._dispatcher = rooms.dispatcher
        self._ledger = rooms.ledger
        self._commits = rooms.commits
        self._rooms = rooms
        self._clock = rooms.clock
        self._settling = RowFlow(rooms, self._commands)
        self._receiving = Receiving(rooms, self._settling)
        self._intakes = intakes
        self._leaving = Draining(rooms, self._settling, self._commands, self._commit)
        self._is_dead_letter_blocked = False
        self._is_parking_blocked = False
        self._held: frozenset[Assignment] = frozenset()
        self._resting: frozenset[Assignment] = frozenset()

    @property
    def is_finished(self) -> bool:
        """True once `Finish` has been said: no event is looked at any more."""
        return self._leaving.is_finished

    def handle(self, event: Event, now: Now) -> list[Command]:
        """Take in what happened; returns what is to be done, in order."""
        self._take_in(event, now)
        self._move_on(now)
        commands = list(self._commands)
        self._commands.clear()
        return commands

    def next_deadline(self) -> float | None:
        """When `TimePassed` is wanted if nothing else happens, in monotonic seconds; None for
        never.
        """
        deadlines = [
            self._dispatcher.next_deadline(),
            self._commits.next_deadline(),
            self._leaving.next_deadline(),
        ]
        deadlines.append(self._clock.next_deadline())
        deadlines += [route.batcher.next_deadline() for route in self._routes.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # --- what happened ----------------------------------------------------------------------------

    def _take_in(self, event: Event, now: Now) -> None:
        match event:
            case Received():
                self._intakes.receive(event.assignment)
                self._receiving.take(event, now)
            case TailRead():
                self._receiving.restore(event, now)
            case Answered(batch_id=batch_id, answer=answer):
                self._clock.note_answer(answer, now)
                settlement = self._dispatcher.answer(batch_id, answer, now)
                self._intakes.admit(settlement.lonely)
                self._settling.answered(settlement, answer, now)
            case ApiTimeRead(answer=answer):
                self._clock.note_api_time(answer, now)
            case TimePassed():
                pass
            case (
                DeadLettersAcknowledged()
                | DeadLettersFailed()
                | ParkingAcknowledged()
                | ParkingFailed()
            ):
                self._written(event, now)
            case Committed() | CommitFailed():
                self._commit_ended(event, now)
            case Assigned() | Revoked() | Lost() | OffsetsSkipped() | LogTruncated():
                self._rebalanced(event, now)
            case Distributed(partitions=partitions):
                self._ledger.abandoned.keep_only(partitions)
            case KeyChanged(application_id=application_id):
                self._dispatcher.try_again(application_id, now)
            case StopRequested(deadline_seconds=deadline_seconds):
                self._commands.append(StopIntake())
                self._leaving.begin(
                    tuple(self._ledger.offsets), deadline_seconds, now, is_stop=True
                )
            case _:
                assert_never(event)

    def _written(
        self,
        event: DeadLettersAcknowledged | DeadLettersFailed | ParkingAcknowledged | ParkingFailed,
        now: Now,
    ) -> None:
        match event:
            case DeadLettersAcknowledged(rejections=rejections):
                self._is_dead_letter_blocked = False
                self._settling.dead_lettered(rejections)
            case DeadLettersFailed(count=count, detail=detail):
                self._is_dead_letter_blocked = True
                self._ledger.account.dead_letter_failures += 1
                self._log(Severity.ERROR, "dead_letters_failed", records=count, detail=detail)
            case ParkingAcknowledged(rows=rows):
                self._is_parking_blocked = False
                self._settling.parked(rows, now)
            case ParkingFailed(count=count, detail=detail):
                self._is_parking_blocked = True
                self._ledger.account.parking_failures += 1
                self._log(Severity.ERROR, "parking_failed", records=count, detail=detail)

    def _commit_ended(self, event: Committed | CommitFailed, now: Now) -> None:
        account = self._ledger.account
        account.commit_seconds.observe(event.duration_seconds)
        is_committed = isinstance(event, Committed)
        self._commits.end(is_committed=is_committed)
        account.commits["committed" if is_committed else "failed"] += 1
        if isinstance(event, Committed):
            self._ledger.offsets.commit(event.positions)
            account.last_commit_unix_seconds = now.unix_seconds
        else:
            self._log(
                Severity.WARNING,
                "commit_failed",
                detail=event.detail,
                partitions=len(event.positions),
            )
            limit = self._ledger.offsets.limit_metadata(event.too_large)
            if limit is not None:
                self._log(Severity.WARNING, "commit_metadata_limited", characters=limit)
                self._commits.commit_soon()
                self._leaving.commit_again()

    def _rebalanced(
        self, event: Assigned | Revoked | Lost | OffsetsSkipped | LogTruncated, now: Now
    ) -> None:
        rebalances = self._ledger.account.rebalances
        match event:
            case Assigned(starts=starts):
                rebalances["assigned"] += 1
                self._log(Severity.INFO, "partitions_assigned", partitions=len(starts))
                if not self._leaving.is_stopping:
                    self._ledger.assign(starts)
                    self._commits.note_progress()
            case Revoked(assignments=assignments, deadline_seconds=deadline_seconds):
                rebalances["revoked"] += 1
                self._log(Severity.INFO, "partitions_revoked", partitions=len(assignments))
                self._leaving.begin(assignments, deadline_seconds, now, is_stop=False)
            case Lost(assignments=assignments):
                rebalances["lost"] += 1
                self._log(Severity.WARNING, "partitions_lost", partitions=len(assignments))
                self._leaving.let_go(assignments, now)
            case OffsetsSkipped(assignment=assignment, count=count):
                self._ledger.account.topics[assignment.topic].offsets_skipped += count
                self._log(
                    Severity.ERROR,
                    "offsets_skipped",
                    partition=str(assignment.topic_partition),
                    offsets=count,
                )
            case LogTruncated(
                assignment=assignment, position=position, resumed_at=resumed_at, is_exact=is_exact
            ):
                self._ledger.account.topics[assignment.topic].log_truncations += 1
                where: dict[str, str | int] = {
                    "partition": str(assignment.topic_partition),
                    "position": position,
                }
                fields = {"resumed_at": resumed_at, "may_pass_over_records": not is_exact}
                self._log(Severity.ERROR, "log_truncated", **where, **fields)

    # --- what follows, after every event ----------------------------------------------------------

    def _move_on(self, now: Now) -> None:
        self._receiving.go_on(now)
        for route in self._routes.values():
            self._settling.submit(route.batcher.due(now.monotonic_seconds))
        self._post(now)
        self._commands.extend(self._clock.look(now, is_waiting=self._receiving.is_waiting))
        # The last commit of a drain comes before the regular one: where each fails, there is always
        # a regular one to wait for.
        self._leaving.advance(now)
        if self._commits.is_due(now.monotonic_seconds) and not self.is_finished:
            self._commit(now)
        self._change_intakes(now)
        self._park(now)

    def _post(self, now: Now) -> None:
        batches, settlement = self._dispatcher.start(now, self._clock.trust(now))
        if settlement.waits_for_time:
            self._clock.want()
        for batch in batches:
            self._ledger.memory.reserve(batch.body_bytes)
            self._commands.append(Post(batch, self._dispatcher.time_factor(batch)))
        self._settling.settle(settlement, now)

    def _commit(self, now: Now) -> bool:
        """Commit what is safe; False if the broker has it all already."""
        positions = self._ledger.offsets.to_commit()
        self._commits.start(now.monotonic_seconds, has_positions=bool(positions))
        if positions:
            self._commands.append(Commit(positions))
        return bool(positions)

    def _change_intakes(self, now: Now) -> None:
        offsets = self._ledger.offsets
        # Only what has changed: with hundreds of partitions a look at each of them would cost more
        # than the event.
        reaches = {
            assignment: offsets.reach(assignment)
            if offsets.state(assignment) is AssignmentState.ASSIGNED
            else None
            for assignment in offsets.take_changed()
        }
        if (held := self._dispatcher.held_assignments()) is not self._held:
            self._held = held
            # A parking topic whose records are on hold has nothing to do but to wait for the hold
            # to heal.
            self._resting = frozenset(
                assignment for assignment in held if self._routes[assignment.topic].is_parking
            )
        waits_for_clock = self._receiving.is_waiting or self._clock.trust(now) is Trust.DOUBTED
        waits_for_topic = self._is_dead_letter_blocked or self._is_parking_blocked
        stop_all = self._ledger.memory.is_high or waits_for_topic or waits_for_clock
        pause, resume = self._intakes.change(reaches, waiting=self._resting, stop_all=stop_all)
        if pause:
            self._commands.append(Pause(pause))
        if resume:
            self._commands.append(Resume(resume))

    def _park(self, now: Now) -> None:
        """What is on hold must not stop its neighbours: where it alone pauses a partition or fills
        the memory, it is parked.
        """
        memory = self._ledger.memory
        if self._held and (self._intakes.over_span or memory.is_high):
            over_span = [
                assignment
                for assignment in self._intakes.over_span
                if self._routes[assignment.topic].parks
            ]
            safe = {
                assignment: self._ledger.offsets.tracker(assignment).safe_position
                for assignment in over_span
            }
            topics = [topic for topic, route in self._routes.items() if route.parks]
            bytes_min = memory.low_bytes if memory.is_high else memory.held_bytes + 1
            self._dispatcher.choose_for_parking(safe, bytes_min=bytes_min, topics=topics)
        if self._dispatcher.has_to_park:
            self._settling.settle(self._dispatcher.park(), now)

    def clock_status(self, now: Now) -> ClockStatus:
        """What the local clock is worth at this moment."""
        return self._clock.status(now)

    def snapshot(self, now: Now) -> Snapshot:
        """The state at this moment, for operators."""
        return build_status(
            self._rooms,
            now,
            paused=self._intakes.paused,
            writing={
                "dead_letter": self._settling.dead_letters_waiting,
                "parking": self._settling.parking_waiting,
            },
            is_stopping=self._leaving.is_stopping,
            blocked=frozenset(
                stage
                for stage, is_blocked in (
                    ("dead_letter", self._is_dead_letter_blocked),
                    ("parking", self._is_parking_blocked),
                )
                if is_blocked
            ),
        )

    def _log(self, severity: Severity, event: str, **fields: str | int | float) -> None:
        self._commands.append(Log(severity, event, fields))

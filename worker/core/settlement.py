"""What becomes of rows: the pipeline's second half, from sealed batches and answers to the books.

Routes between window, batcher, dispatcher and ledger like the pipeline does, and owns no rule
either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.core.batching.batcher import Batcher, Sealed
from worker.core.dedup.window import Window
from worker.core.delivery.dispatcher import Dispatcher
from worker.core.delivery.outcome import AMBIGUOUS, Outcome, Retry, label
from worker.core.delivery.settlement import Settlement
from worker.core.intake.intake import Intake
from worker.core.model.answer import Answer, Response
from worker.core.model.clock import Now
from worker.core.model.command import Command, WriteDeadLetters, WriteParked
from worker.core.model.fault import Rejection
from worker.core.model.record import AssignmentState
from worker.core.model.row import Row
from worker.core.progress.clock_check import ClockCheck
from worker.core.progress.commits import Commits
from worker.core.progress.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Route:
    """One topic's way: its intake, its window of seen keys, its open batches.

    `parks`: what its held applications stop may go to a parking topic. `is_parking`: it is such a
    topic.
    """

    intake: Intake
    window: Window
    batcher: Batcher
    parks: bool = False
    is_parking: bool = False


@dataclass(frozen=True, slots=True)
class Components:
    """All that the pipeline routes between: a route per topic, and what they share."""

    routes: Mapping[str, Route]
    dispatcher: Dispatcher
    ledger: Ledger
    commits: Commits
    clock: ClockCheck


class RowFlow:
    """Carries rows from one room to the next.

    What is to be done about it is added to `commands`.
    """

    def __init__(self, rooms: Components, commands: list[Command]) -> None:
        self._rooms = rooms
        self._commands = commands
        self._dead_letters_waiting = 0
        self._parking_waiting = 0

    @property
    def dead_letters_waiting(self) -> int:
        """How many records wait for the dead-letter topic."""
        return self._dead_letters_waiting

    @property
    def parking_waiting(self) -> int:
        """How many records wait for the parking topic."""
        return self._parking_waiting

    def submit(self, sealed: Iterable[Sealed]) -> None:
        """These batches are ready to be sent."""
        account = self._rooms.ledger.account
        for one in sealed:
            account.flushes[one.trigger.value] += 1
            account.batch_rows.observe(len(one.batch.rows))
            account.batch_bytes.observe(one.batch.body_bytes)
            self._rooms.dispatcher.submit((one.batch,))

    def answered(self, settlement: Settlement, answer: Answer, now: Now) -> None:
        """A request ended, and this came of it."""
        if settlement.batch is not None and settlement.outcome is not None:
            self._rooms.ledger.memory.release(settlement.batch.body_bytes)
            self._count(answer, settlement.outcome, len(settlement.batch.rows))
        self.settle(settlement, now)

    def settle(self, settlement: Settlement, now: Now) -> None:
        """Rows have left the delivery: the books are closed on them, or their records go to the
        dead-letter topic.
        """
        if settlement.delivered:
            duplicates: list[Row] = []
            for topic, rows in _by_topic(settlement.delivered).items():
                duplicates += self._rooms.routes[topic].window.deliver(rows, now.monotonic_seconds)
            # Its metrics are of times: they hold whatever the local clock says.
            self._rooms.ledger.deliver(settlement.delivered, self._rooms.clock.best_guess(now))
            self._rooms.ledger.drop_duplicates(duplicates)
            self._rooms.commits.note_progress()
        self.write_dead_letters(
            [
                Rejection(
                    one.row.assignment,
                    one.row.record,
                    (one.fault,),
                    one.row.size_bytes,
                    one.http_status,
                )
                for one in settlement.refused
            ]
        )
        self._promote([refusal.row for refusal in settlement.refused], now)
        self.give_back(settlement.returned, now)
        self.park(settlement.parked)
        self._commands.extend(settlement.logs)

    def write_dead_letters(self, rejections: Sequence[Rejection]) -> None:
        """These go to the dead-letter topic; they are settled when it has acknowledged them
        (`dead_lettered`).
        """
        if not rejections:
            return
        for rejection in rejections:
            self._rooms.ledger.account.topics[rejection.assignment.topic].rejected[
                rejection.reason
            ] += 1
        self._dead_letters_waiting += len(rejections)
        self._commands.append(WriteDeadLetters(tuple(rejections)))

    def dead_lettered(self, rejections: Sequence[Rejection]) -> None:
        """The dead-letter topic has these for good."""
        self._dead_letters_waiting -= len(rejections)
        self._rooms.ledger.write_dead_letters(rejections)
        self._rooms.commits.note_progress()

    def split_off_parked(self, rows: list[Row]) -> list[Row]:
        """Send what may not wait here to the parking topic; returns the rows that go on.

        One row of an application that has nothing left to ask the API with goes on: it is the next
        probe.
        """
        dispatcher = self._rooms.dispatcher
        going_on: list[Row] = []
        parked: list[Row] = []
        probing: set[int] = set()
        for row in rows:
            application_id = row.destination.application_id
            if not dispatcher.goes_to_parking(application_id):
                going_on.append(row)
            elif application_id not in probing and dispatcher.lacks_probe(application_id):
                probing.add(application_id)
                going_on.append(row)
            else:
                parked.append(row)
        self.park(parked)
        return going_on

    def park(self, rows: Sequence[Row]) -> None:
        """The records of these go to the parking topic; they are settled when it has acknowledged
        them (`parked`).
        """
        if not rows:
            return
        self._parking_waiting += len(rows)
        self._commands.append(WriteParked(tuple(rows)))

    def parked(self, rows: Sequence[Row], now: Now) -> None:
        """The parking topic has these for good."""
        self._parking_waiting -= len(rows)
        for topic, mine in _by_topic(rows).items():
            duplicates, promoted = self._rooms.routes[topic].window.park(
                mine, now.monotonic_seconds
            )
            self._rooms.ledger.drop_duplicates(duplicates)
            self._go_on(topic, promoted, now)
        self._rooms.ledger.park(rows)
        self._rooms.commits.note_progress()

    def give_back(self, rows: Sequence[Row], now: Now) -> None:
        """These rows are left, unsettled, to the next owner of their partitions."""
        self._rooms.ledger.give_back(rows)
        self._promote(rows, now)

    def _promote(self, rows: Sequence[Row], now: Now) -> None:
        """Rows have left without being delivered: the duplicates linked to them take their places,
        or go as well.
        """
        for topic, left in _by_topic(rows).items():
            self._go_on(topic, self._rooms.routes[topic].window.take_back(left), now)

    def _go_on(self, topic: str, successors: Sequence[Row], now: Now) -> None:
        """Rows that were linked are on their own now."""
        state = self._rooms.ledger.offsets.state
        staying = [row for row in successors if state(row.assignment) is AssignmentState.ASSIGNED]
        leaving = [
            row for row in successors if state(row.assignment) is not AssignmentState.ASSIGNED
        ]
        self.submit(self._rooms.routes[topic].batcher.add(staying, now.monotonic_seconds))
        if leaving:
            self.give_back(leaving, now)

    def _count(self, answer: Answer, outcome: Outcome, rows: int) -> None:
        account = self._rooms.ledger.account
        account.requests[
            str(answer.status) if isinstance(answer, Response) else answer.fault.value
        ] += 1
        if isinstance(outcome, Retry):
            account.retries[outcome.reason] += 1
            account.ambiguous_rows += rows if outcome.kind in AMBIGUOUS else 0
        account.batches[label(outcome)] += 1
        account.observe_request(label(outcome), answer.duration_seconds)


def _by_topic(rows: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.assignment.topic, []).append(row)
    return grouped

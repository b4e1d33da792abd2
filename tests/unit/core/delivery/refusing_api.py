"""Requests to an API that refuses some rows, and what bisection finds."""

from __future__ import annotations

from collections import deque

from tests.builders import make_batch
from worker.core.delivery.bisection import (
    Bisections,
    Finding,
    Halved,
    ProvenBad,
    Systemic,
    Unproven,
)
from worker.core.delivery.request_history import RequestHistory
from worker.core.delivery.settlement import RefusedRow
from worker.core.model.batch import Batch
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import Row


def refusal_of(batch: Batch) -> RefusedRow:
    return RefusedRow(batch.rows[0], FieldFault(Reason.REFUSED, "", "the API answered 400"), 400)


def offsets(bad_rows: tuple[RefusedRow, ...]) -> list[int]:
    return [refusal.row.record.offset for refusal in bad_rows]


def pieces_of(finding: Finding) -> tuple[Batch, ...]:
    """The pieces of a batch that was halved."""
    assert isinstance(finding, Halved)
    return finding.pieces


def bad_rows_of(finding: Finding) -> tuple[RefusedRow, ...]:
    """The rows given up with a row that was proven bad."""
    assert isinstance(finding, ProvenBad)
    return finding.bad_rows


class Requests:
    """Bisections and the history of requests, which take no time unless they are kept open."""

    def __init__(self, systemic_ratio: float = 1.0, systemic_rows_min: int = 10**6) -> None:
        self.history = RequestHistory()
        self.bisections = Bisections(
            systemic_ratio=systemic_ratio,
            systemic_rows_min=systemic_rows_min,
        )

    def send(self, *batches: Batch) -> None:
        for batch in batches:
            self.history.start(batch)

    def refuse(self, batch: Batch) -> Finding:
        """Its request, which has been sent, is refused."""
        return self.bisections.refuse(batch, refusal_of(batch), self.history.end(batch.id))

    def accept(self, batch: Batch) -> list[int]:
        """Its request, which has been sent, is taken; the offsets of the bad rows."""
        self.history.accept(batch, self.history.end(batch.id))
        return offsets(self.bisections.deliver(batch))

    def may_be_sent_again(self, batch: Batch) -> bool:
        newest_accepted = self.history.newest_accepted(batch.destination.application_id)
        return self.bisections.may_be_sent_again(batch, newest_accepted)

    def refused(self, batch: Batch) -> Finding:
        self.send(batch)
        return self.refuse(batch)

    def accepted(self, batch: Batch) -> list[int]:
        self.send(batch)
        return self.accept(batch)

    def end(self, batch: Batch) -> list[int]:
        return offsets(self.bisections.end(batch.id))


class Api:
    """Refuses every batch with a bad row, and counts. `run` plays a batch to its end or the hold.

    Quarantined rows are sent again as soon as they may be; rows since which nothing has been
    accepted stay `quarantined`.
    """

    def __init__(self, requests: Requests, bad_rows: set[int]) -> None:
        self.sender = requests
        self.bad_rows = bad_rows
        self.requests = 0
        self.delivered: list[int] = []
        self.dead_lettered: list[int] = []
        self.quarantined: list[Batch] = []
        self.held: list[int] = []
        self.left: deque[Batch] = deque()

    def run(self, batch: Batch) -> None:
        self.left.append(batch)
        for _ in range(2000):
            if not self.left or self.held:
                return
            self.send(self.left.popleft())
        raise AssertionError("the bisection does not end")

    def run_with_company(self, batch: Batch) -> None:
        """As `run`; then other rows are accepted, which decides all quarantined rows."""
        self.run(batch)
        self.sender.accepted(make_batch(1, batch_id="company", start=10**6))
        self.release()
        while self.left:
            self.send(self.left.popleft())

    def send(self, batch: Batch) -> None:
        self.requests += 1
        self.sender.send(batch)
        if not self.bad_rows & {row.record.offset for row in batch.rows}:
            self.delivered += [row.record.offset for row in batch.rows]
            self.write_dead_letters(self.sender.accept(batch))
            self.release()
            return
        match self.sender.refuse(batch):
            case Halved(pieces=pieces):
                self.left.extendleft(reversed(pieces))
            case ProvenBad(bad_rows=bad_rows):
                self.write_dead_letters(offsets(bad_rows))
            case Unproven(bad_rows=bad_rows):
                self.write_dead_letters(offsets(bad_rows))
                self.quarantined.append(batch)
                self.release()
            case Systemic(released=released):
                self.hold((*released, *batch.rows))

    def hold(self, rows: tuple[Row, ...]) -> None:
        """As `WaitingBatches` does."""
        concerns = self.sender.bisections.concerns
        ordinary = [
            row for other in self.quarantined if not concerns(other.id) for row in other.rows
        ]
        self.quarantined = [other for other in self.quarantined if concerns(other.id)]
        self.held = [row.record.offset for row in (*ordinary, *rows)]

    def release(self) -> None:
        going = [batch for batch in self.quarantined if self.sender.may_be_sent_again(batch)]
        self.quarantined = [batch for batch in self.quarantined if batch not in going]
        self.left.extendleft(reversed(going))

    def write_dead_letters(self, offsets: list[int]) -> None:
        self.dead_lettered += offsets

"""Finding the guilty rows of a refused batch.

The API refuses a whole request for one bad row and doesn't say which. So the batch is halved, both
halves are sent, and a refused half is halved again, until the guilty rows stand alone: for k guilty
rows of n about 2·k·log2(n/k) + 2·k requests. Both halves are always sent: that one passes says
nothing about the other.

A row that is refused alone is only *accused*: the API may refuse everything at present. It is asked
again once something of its application has been accepted, in a request that started after the
refusal was known; a second refusal makes it guilty. Where all other rows of a larger piece have
been accepted, the refusal of that piece was this row's: it counts as the first one, so that the row
needn't wait for others. Until then it waits (`bench`); a hold begins where nothing is accepted for
long.

A dead letter can't be taken back, so nothing is dead-lettered before the whole batch is known. If
more than `systemic_ratio` of it turns out accused, the rows aren't at fault but something else is
(a wrong address, a change of the API): all are kept. A batch of a few rows says nothing about that.
But batch after batch of which not one row was taken does, once they are as many rows as a batch
would have to have: so an API that refuses everything costs fewer than that, however small the
batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from worker.core.delivery.evidence import Attempt, Evidence
from worker.core.delivery.settlement import Refusal
from worker.core.delivery.split import halves
from worker.core.model.batch import Batch
from worker.core.model.row import Row


class Finding(Enum):
    """What a refusal leads to.

    SPLIT: `pieces` are sent now. GUILTY: the rows of `bad_rows` are given up, if any: they wait for
    the last piece of their batch. ACCUSED: the row is asked again once others have been accepted.
    SYSTEMIC: it isn't the rows; all are to be held.
    """

    SPLIT = auto()
    GUILTY = auto()
    ACCUSED = auto()
    SYSTEMIC = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding, with the `pieces` to send now, the `bad_rows` rows to give up, or the rows
    `released` to be held.
    """

    finding: Finding
    pieces: tuple[Batch, ...] = ()
    bad_rows: tuple[Refusal, ...] = ()
    released: tuple[Row, ...] = ()


@dataclass(slots=True, eq=False)
class _Bisection:
    """One refused batch: its unjudged `pieces`, by id, and its accused and guilty rows."""

    rows: int
    is_any_taken: bool = False
    pieces: set[str] = field(default_factory=set)
    quarantined: set[str] = field(default_factory=set)
    bad_rows: list[Refusal] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Node:
    """A refused piece of several rows: when that was known, and how many of them haven't been
    accepted since.
    """

    parent: _Node | None
    refused_at: int
    unaccepted: int


@dataclass(slots=True)
class _Place:
    """Where a piece belongs. `refused_at`: when it was first refused alone; None if it wasn't."""

    bisection: _Bisection
    node: _Node | None
    refused_at: int | None = None

    def first_refused_at(self) -> int | None:
        """The earliest refusal that was this one row's; None if there was none."""
        earliest, node = self.refused_at, self.node
        while node is not None and node.unaccepted == 1:
            earliest, node = node.refused_at, node.parent
        return earliest


class Bisections:
    """The refused batches that are being taken apart.

    Args:
        systemic_ratio: the share of refused rows above which the rows aren't to blame, in (0, 1].
        systemic_rows_min: smaller batches say nothing about that; so many rows in a row do, of
            which the API took none.
        evidence: what has been taken, and when.
    """

    def __init__(
        self, *, systemic_ratio: float, systemic_rows_min: int, evidence: Evidence
    ) -> None:
        self._systemic_ratio = systemic_ratio
        self._systemic_rows_min = systemic_rows_min
        self._evidence = evidence
        self._places: dict[str, _Place] = {}
        # By application: how many rows have been accused since the API last took any.
        self._accused_in_a_row: dict[int, int] = {}

    def concerns(self, batch_id: str) -> bool:
        """True if this batch is a piece of one that is being taken apart."""
        return batch_id in self._places

    def may_be_asked_again(self, batch: Batch) -> bool:
        """True if others have been accepted since this accused row was refused: then a second
        refusal counts.
        """
        place = self._places.get(batch.id)
        first = place.first_refused_at() if place is not None else None
        return (
            first is None
            or self._evidence.newest_accepted(batch.destination.application_id) > first
        )

    def refuse(self, batch: Batch, refusal: Refusal, attempt: Attempt) -> Verdict:
        """This batch was refused.

        `refusal` says how, for its first row; it counts if that row stands alone.
        """
        place = self._places.pop(batch.id, None) or _Place(_Bisection(rows=len(batch.rows)), None)
        place.bisection.pieces.discard(batch.id)
        if len(batch.rows) > 1:
            return self._split(batch, place, attempt)
        first = place.first_refused_at()
        if first is not None and attempt.accepted_before > first:
            place.bisection.quarantined.discard(batch.id)
            place.bisection.bad_rows.append(refusal)
            return Verdict(Finding.GUILTY, bad_rows=self._found(place.bisection))
        return self._quarantine_row(batch, place, attempt)

    def deliver(self, batch: Batch) -> tuple[Refusal, ...]:
        """This batch, or piece of one, was taken.

        Returns the guilty rows if it was the last piece.
        """
        self._accused_in_a_row.pop(batch.destination.application_id, None)
        place = self._places.get(batch.id)
        if place is not None:
            place.bisection.is_any_taken = True
            node = place.node
            while node is not None:
                node.unaccepted -= len(batch.rows)
                node = node.parent
        return self.end(batch.id)

    def end(self, batch_id: str) -> tuple[Refusal, ...]:
        """This batch came to another end (expired, given back).

        Returns the guilty rows if it was the last piece.
        """
        place = self._places.pop(batch_id, None)
        if place is None:
            return ()
        place.bisection.pieces.discard(batch_id)
        place.bisection.quarantined.discard(batch_id)
        return self._found(place.bisection)

    def replace(self, batch_id: str, *successors: Batch) -> None:
        """This batch goes on as others: it has lost rows, or was split for its size."""
        place = self._places.pop(batch_id, None)
        if place is None:
            return
        place.bisection.pieces.discard(batch_id)
        for successor in successors:
            place.bisection.pieces.add(successor.id)
            self._places[successor.id] = _Place(place.bisection, place.node)

    def withdraw_guilty(self, is_out: Callable[[Row], bool]) -> list[Row]:
        """Take the rows found guilty so far, but not yet given up, of partitions that are no longer
        ours; return them.
        """
        taken_back: list[Row] = []
        for bisection in {
            id(place.bisection): place.bisection for place in self._places.values()
        }.values():
            taken_back.extend(refusal.row for refusal in bisection.bad_rows if is_out(refusal.row))
            bisection.bad_rows = [
                refusal for refusal in bisection.bad_rows if not is_out(refusal.row)
            ]
        return taken_back

    def _split(self, batch: Batch, place: _Place, attempt: Attempt) -> Verdict:
        node = _Node(place.node, attempt.ended, len(batch.rows))
        pieces = halves(batch)
        for half in pieces:
            place.bisection.pieces.add(half.id)
            self._places[half.id] = _Place(place.bisection, node)
        return Verdict(Finding.SPLIT, pieces=pieces)

    def _quarantine_row(self, batch: Batch, place: _Place, attempt: Attempt) -> Verdict:
        is_first_time = place.refused_at is None
        if is_first_time:
            place.refused_at = attempt.ended
        place.bisection.quarantined.add(batch.id)
        if is_first_time and self._is_systemic(place.bisection, batch.destination.application_id):
            return Verdict(Finding.SYSTEMIC, released=self._abandon(place.bisection))
        self._places[batch.id] = place
        return Verdict(Finding.ACCUSED, bad_rows=self._found(place.bisection))

    def _is_systemic(self, bisection: _Bisection, application_id: int) -> bool:
        refused = len(bisection.quarantined) + len(bisection.bad_rows)
        if bisection.rows >= self._systemic_rows_min:
            return refused > self._systemic_ratio * bisection.rows
        if bisection.pieces or bisection.is_any_taken:
            return False
        in_a_row = self._accused_in_a_row.get(application_id, 0) + refused
        self._accused_in_a_row[application_id] = in_a_row
        return in_a_row >= self._systemic_rows_min

    def _abandon(self, bisection: _Bisection) -> tuple[Row, ...]:
        """Stop taking it apart: its pieces and its accused rows are ordinary batches again; returns
        the rows in no batch.
        """
        for batch_id in (*bisection.pieces, *bisection.quarantined):
            self._places.pop(batch_id, None)
        return tuple(refusal.row for refusal in bisection.bad_rows)

    def _found(self, bisection: _Bisection) -> tuple[Refusal, ...]:
        """The guilty rows, once no piece is unjudged; those that are still accused come later."""
        if bisection.pieces:
            return ()
        bad_rows, bisection.bad_rows = tuple(bisection.bad_rows), []
        return bad_rows

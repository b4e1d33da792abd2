"""Finding the guilty rows of a refused batch.

The API refuses a whole request for one bad row and doesn't say which. So the batch is halved, both halves are sent, and a
refused half is halved again, until the guilty rows stand alone: for k guilty rows of n about 2·k·log2(n/k) + 2·k requests.
Both halves are always sent: that one passes says nothing about the other.

A dead letter can't be taken back, so nothing is dead-lettered before the whole batch is known. If more than `systemic_ratio`
of it turns out guilty, the rows aren't at fault but something else is (a wrong address, a change of the API): all are kept.
A batch of a few rows says nothing about that. But batch after batch of which not one row was taken does, once they are as many
rows as a batch would have to have: so an API that refuses everything costs fewer than that, however small the batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from worker.delivery.settlement import Refusal
from worker.delivery.split import halves, piece
from worker.model.batch import Batch
from worker.model.row import Row


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a refusal leads to: `pieces` to send now, `guilty` rows to bury, or a `systemic` batch of rows to be held."""

    pieces: tuple[Batch, ...] = ()
    guilty: tuple[Refusal, ...] = ()
    systemic: Batch | None = None


@dataclass(slots=True, eq=False)
class _Bisection:
    rows: int
    is_any_taken: bool = False
    pieces: set[str] = field(default_factory=set)
    guilty: list[Refusal] = field(default_factory=list)


class Bisections:
    """The refused batches that are being taken apart.

    Args:
        systemic_ratio: the share of refused rows above which the rows aren't to blame, in (0, 1].
        systemic_rows_min: smaller batches say nothing about that; so many rows in a row do, of which the API took none.
    """

    def __init__(self, *, systemic_ratio: float, systemic_rows_min: int) -> None:
        self._systemic_ratio = systemic_ratio
        self._systemic_rows_min = systemic_rows_min
        self._bisection_of: dict[str, _Bisection] = {}
        # By application: how many rows have been found guilty since the API last took any.
        self._guilty_in_a_row: dict[int, int] = {}

    def concerns(self, batch_id: str) -> bool:
        """True if this batch is a piece of one that is being taken apart."""
        return batch_id in self._bisection_of

    def refuse(self, batch: Batch, refusal: Refusal) -> Verdict:
        """This batch was refused. `refusal` says how, for its first row; it counts if that row stands alone."""
        bisection = self._bisection_of.pop(batch.id, None) or _Bisection(rows=len(batch.rows))
        bisection.pieces.discard(batch.id)
        if len(batch.rows) > 1:
            pieces = halves(batch)
            for half in pieces:
                bisection.pieces.add(half.id)
                self._bisection_of[half.id] = bisection
            return Verdict(pieces=pieces)
        bisection.guilty.append(refusal)
        if self._is_systemic(bisection, batch.destination.application_id):
            return Verdict(systemic=self._abandon(bisection, batch))
        return Verdict(guilty=self._found(bisection))

    def deliver(self, batch: Batch) -> tuple[Refusal, ...]:
        """This batch, or piece of one, was taken. Returns the guilty rows if it was the last piece."""
        self._guilty_in_a_row.pop(batch.destination.application_id, None)
        bisection = self._bisection_of.get(batch.id)
        if bisection is not None:
            bisection.is_any_taken = True
        return self.end(batch.id)

    def end(self, batch_id: str) -> tuple[Refusal, ...]:
        """This batch came to another end (expired, given back). Returns the guilty rows if it was the last piece."""
        bisection = self._bisection_of.pop(batch_id, None)
        if bisection is None:
            return ()
        bisection.pieces.discard(batch_id)
        return self._found(bisection)

    def replace(self, batch_id: str, *successors: Batch) -> None:
        """This batch goes on as others: it has lost rows, or was split for its size."""
        bisection = self._bisection_of.pop(batch_id, None)
        if bisection is None:
            return
        bisection.pieces.discard(batch_id)
        for successor in successors:
            bisection.pieces.add(successor.id)
            self._bisection_of[successor.id] = bisection

    def withdraw_guilty(self, is_out: Callable[[Row], bool]) -> list[Row]:
        """Take the rows found guilty so far, but not yet buried, of partitions that are no longer ours; return them."""
        withdrawn: list[Row] = []
        for bisection in set(self._bisection_of.values()):
            withdrawn.extend(refusal.row for refusal in bisection.guilty if is_out(refusal.row))
            bisection.guilty = [refusal for refusal in bisection.guilty if not is_out(refusal.row)]
        return withdrawn

    def _is_systemic(self, bisection: _Bisection, application_id: int) -> bool:
        if bisection.rows >= self._systemic_rows_min:
            return len(bisection.guilty) > self._systemic_ratio * bisection.rows
        if bisection.pieces or bisection.is_any_taken:
            return False
        in_a_row = self._guilty_in_a_row.get(application_id, 0) + len(bisection.guilty)
        self._guilty_in_a_row[application_id] = in_a_row
        return in_a_row >= self._systemic_rows_min

    def _abandon(self, bisection: _Bisection, last: Batch) -> Batch:
        """Stop taking it apart: the pieces under way are ordinary batches again, the rows found guilty are one to be held."""
        for batch_id in bisection.pieces:
            del self._bisection_of[batch_id]
        return piece(last, tuple(refusal.row for refusal in bisection.guilty), "held")

    def _found(self, bisection: _Bisection) -> tuple[Refusal, ...]:
        return () if bisection.pieces else tuple(bisection.guilty)

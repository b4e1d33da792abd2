"""Finding the bad rows of a refused batch.

The API refuses a whole request for one bad row and doesn't say which. So the batch is halved, both
halves are sent, and a refused half is halved again, until each bad row is alone: for k bad rows of
n about 2·k·log2(n/k) + 2·k requests. Both halves are always sent, because the result of one shows
nothing about the other.

A row that is refused alone is *unproven*: the API may refuse everything at present. It waits
(`Quarantine`) until another row of its application has been accepted, in a request that started
after the refusal was known, and is then sent again; a second refusal proves that it is bad. If all
other rows of a larger piece have been accepted, this row was the cause of that piece's refusal,
which then counts as the first refusal of the row. If nothing is accepted for long, the application
is put on hold.

A dead letter can't be taken back, so no row is dead-lettered before the results of the whole batch
are known. (An exception is an ordered row of whose subject a newer row was accepted: it must not be
sent any more.) If more than `systemic_ratio` of the batch is refused row by row, the cause isn't in
the rows (a wrong address, a change of the API), and all rows are kept. A batch of fewer than
`systemic_rows_min` rows is too small to show that; but consecutive batches that have as many rows
together, of which none was accepted, do show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from worker.core.delivery.request_history import RequestMoments
from worker.core.delivery.settlement import RefusedRow, halves
from worker.core.model.batch import Batch
from worker.core.model.row import Row


@dataclass(frozen=True, slots=True)
class Halved:
    """These pieces are sent instead, now."""

    pieces: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class ProvenBad:
    """The row is bad. `bad_rows` are given up now: none before the last piece is known."""

    bad_rows: tuple[RefusedRow, ...]


@dataclass(frozen=True, slots=True)
class Unproven:
    """The row is sent again once others have been accepted. `bad_rows` are given up now."""

    bad_rows: tuple[RefusedRow, ...]


@dataclass(frozen=True, slots=True)
class Systemic:
    """The cause isn't in the rows: all are to be held. `released` are those in no batch."""

    released: tuple[Row, ...]


# The result of a refusal.
Finding = Halved | ProvenBad | Unproven | Systemic


@dataclass(slots=True, eq=False)
class _Bisection:
    """One refused batch: the ids of its pieces without a result, its unproven and its bad rows."""

    rows: int
    is_any_accepted: bool = False
    pieces: set[str] = field(default_factory=set)
    unproven: set[str] = field(default_factory=set)
    bad_rows: list[RefusedRow] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Node:
    """A refused piece of several rows.

    `refused_at` is when it was refused, `unaccepted` how many of its rows weren't accepted since.
    """

    parent: _Node | None
    refused_at: int
    unaccepted: int


@dataclass(slots=True)
class _Piece:
    """A piece's part in a bisection. `refused_at`: when it was first refused alone, or None."""

    bisection: _Bisection
    node: _Node | None
    refused_at: int | None = None

    def first_refused_at(self) -> int | None:
        """When this single row was first the cause of a refusal; None if it never was."""
        earliest, node = self.refused_at, self.node
        while node is not None and node.unaccepted == 1:
            earliest, node = node.refused_at, node.parent
        return earliest


class Bisections:
    """The refused batches that are being bisected.

    Args:
        systemic_ratio: the share of refused rows above which the rows aren't the cause, in (0, 1].
        systemic_rows_min: smaller batches are no proof of that; this many consecutive
            refused rows are, if the API accepted none in between.
    """

    def __init__(self, *, systemic_ratio: float, systemic_rows_min: int) -> None:
        self._systemic_ratio = systemic_ratio
        self._systemic_rows_min = systemic_rows_min
        self._pieces: dict[str, _Piece] = {}
        # By application: how many rows were refused alone since the API last accepted any.
        self._consecutive_refusals: dict[int, int] = {}

    def concerns(self, batch_id: str) -> bool:
        """True if this batch is a piece of one that is being bisected."""
        return batch_id in self._pieces

    def may_be_sent_again(self, batch: Batch, newest_accepted: int) -> bool:
        """True if a second refusal of this unproven row would prove it bad.

        `newest_accepted`: when the latest accepted request of its application had started.
        """
        piece = self._pieces.get(batch.id)
        first = piece.first_refused_at() if piece is not None else None
        return first is None or newest_accepted > first

    def refuse(self, batch: Batch, refusal: RefusedRow, request: RequestMoments) -> Finding:
        """This batch was refused.

        `refusal` is that of its first row; it counts if that row is alone.
        """
        piece = self._pieces.pop(batch.id, None) or _Piece(_Bisection(rows=len(batch.rows)), None)
        piece.bisection.pieces.discard(batch.id)
        if len(batch.rows) > 1:
            return self._halve(batch, piece, request)
        first = piece.first_refused_at()
        if first is not None and request.accepted_before > first:
            piece.bisection.unproven.discard(batch.id)
            piece.bisection.bad_rows.append(refusal)
            return ProvenBad(self._bad_rows_of(piece.bisection))
        return self._refuse_alone(batch, piece, request)

    def deliver(self, batch: Batch) -> tuple[RefusedRow, ...]:
        """This batch was accepted; returns the bad rows if it was the last piece of a bisection."""
        self._consecutive_refusals.pop(batch.destination.application_id, None)
        piece = self._pieces.get(batch.id)
        if piece is not None:
            piece.bisection.is_any_accepted = True
            node = piece.node
            while node is not None:
                node.unaccepted -= len(batch.rows)
                node = node.parent
        return self.end(batch.id)

    def end(self, batch_id: str) -> tuple[RefusedRow, ...]:
        """This batch came to another end (expired, given back).

        Returns the bad rows if it was the last piece of a bisection.
        """
        piece = self._pieces.pop(batch_id, None)
        if piece is None:
            return ()
        piece.bisection.pieces.discard(batch_id)
        piece.bisection.unproven.discard(batch_id)
        return self._bad_rows_of(piece.bisection)

    def replace(self, batch_id: str, *successors: Batch) -> None:
        """Pass this batch's part on to its successors: it lost rows, or was split for its size."""
        piece = self._pieces.pop(batch_id, None)
        if piece is None:
            return
        piece.bisection.pieces.discard(batch_id)
        for successor in successors:
            piece.bisection.pieces.add(successor.id)
            self._pieces[successor.id] = _Piece(piece.bisection, piece.node)

    def take_bad_rows(self, is_out: Callable[[Row], bool]) -> list[RefusedRow]:
        """Take out some of the bad rows that wait for the rest of their batch."""
        taken: list[RefusedRow] = []
        for bisection in {
            id(piece.bisection): piece.bisection for piece in self._pieces.values()
        }.values():
            taken.extend(refusal for refusal in bisection.bad_rows if is_out(refusal.row))
            bisection.bad_rows = [
                refusal for refusal in bisection.bad_rows if not is_out(refusal.row)
            ]
        return taken

    def _halve(self, batch: Batch, piece: _Piece, request: RequestMoments) -> Halved:
        node = _Node(piece.node, request.ended, len(batch.rows))
        pieces = halves(batch)
        for half in pieces:
            piece.bisection.pieces.add(half.id)
            self._pieces[half.id] = _Piece(piece.bisection, node)
        return Halved(pieces)

    def _refuse_alone(
        self, batch: Batch, piece: _Piece, request: RequestMoments
    ) -> Unproven | Systemic:
        is_first_time = piece.refused_at is None
        if is_first_time:
            piece.refused_at = request.ended
        piece.bisection.unproven.add(batch.id)
        if is_first_time and self._is_systemic(piece.bisection, batch.destination.application_id):
            return Systemic(self._abandon(piece.bisection))
        self._pieces[batch.id] = piece
        return Unproven(self._bad_rows_of(piece.bisection))

    def _is_systemic(self, bisection: _Bisection, application_id: int) -> bool:
        refused = len(bisection.unproven) + len(bisection.bad_rows)
        if bisection.rows >= self._systemic_rows_min:
            return refused > self._systemic_ratio * bisection.rows
        if bisection.pieces or bisection.is_any_accepted:
            return False
        consecutive = self._consecutive_refusals.get(application_id, 0) + refused
        self._consecutive_refusals[application_id] = consecutive
        return consecutive >= self._systemic_rows_min

    def _abandon(self, bisection: _Bisection) -> tuple[Row, ...]:
        """Stop the bisection: its pieces and unproven rows are ordinary batches again.

        Returns the rows in no batch.
        """
        for batch_id in (*bisection.pieces, *bisection.unproven):
            self._pieces.pop(batch_id, None)
        return tuple(refusal.row for refusal in bisection.bad_rows)

    def _bad_rows_of(self, bisection: _Bisection) -> tuple[RefusedRow, ...]:
        """The bad rows, once no piece is without a result; rows still unproven follow later."""
        if bisection.pieces:
            return ()
        bad_rows, bisection.bad_rows = tuple(bisection.bad_rows), []
        return bad_rows

r"""Rows become batches: one open batch per destination, sealed by rows, bytes, linger or drain.

A request's body is a header line and the rows' lines: UTF-8 without a byte order mark, `\n` after
each line. Source: the Post API's documentation, "body" form; RFC 4180.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import accumulate, count, groupby, takewhile
from operator import attrgetter

from worker.core.model.batch import (
    Batch,
    FlushTrigger,
    Share,
    add_to_shares,
    oldest_event_timestamp,
)
from worker.core.model.record import Assignment
from worker.core.model.row import Destination, Row
from worker.core.post_api.resource import RESOURCES, Identity


def header(destination: Destination) -> bytes:
    """Return the line that names the columns of every row of this destination.

    Parameter names need no quoting.
    """
    names = RESOURCES[destination.resource].header(destination.identity)
    return (
        ",".join(name for index, name in enumerate(names) if destination.filled >> index & 1) + "\n"
    ).encode()


def no_header(_: Destination) -> bytes:
    """Return no header: in the form `params` each row names its own columns."""
    return b""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When an open batch is sealed. `linger_seconds` counts from its first row."""

    rows_max: int
    body_bytes_max: int
    linger_seconds: float


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch that is ready to be sent, and the reason for which it was sealed."""

    batch: Batch
    trigger: FlushTrigger


@dataclass(slots=True)
class _Open:
    header: bytes
    due_seconds: float
    body_bytes: int
    rows: list[Row] = field(default_factory=list)
    shares: dict[Assignment, Share] = field(default_factory=dict)


class Batcher:
    """The open batches of one route.

    Args:
        limits: when a batch is full or due.
        batch_id_prefix: makes the ids unique among processes and routes.
        head: returns the first line of a destination's bodies.
        ordered: the resources whose rows keep their order from batch to batch. They have a single
            open batch per application and identity kind, even where rows fill different columns.
    """

    def __init__(
        self,
        limits: BatchLimits,
        batch_id_prefix: str,
        head: Callable[[Destination], bytes] = header,
        ordered: Collection[str] = (),
    ) -> None:
        self._limits = limits
        self._prefix = batch_id_prefix
        self._head = head
        self._ordered = ordered
        self._numbers = count(1)
        # In the order in which they were opened, which is the order in which they are due.
        self._open: dict[Destination, _Open] = {}

    @property
    def rows(self) -> int:
        """How many rows are in open batches."""
        return sum(len(batch.rows) for batch in self._open.values())

    @property
    def oldest_event_timestamp(self) -> int | None:
        """The earliest event time among the rows here, in Unix seconds; None with no row here."""
        return min(
            (oldest_event_timestamp(batch.shares) for batch in self._open.values()), default=None
        )

    def add(self, rows: Iterable[Row], monotonic_seconds: float) -> list[Sealed]:
        """Add rows; returns the batches that became full.

        A row that would make a batch too large opens the next one.
        """
        # In an ordered route rows of other columns must not pass each other.
        groups = _runs(rows) if self._ordered else _groups(rows)
        return [
            sealed
            for destination, group in groups
            for sealed in self._add_group(destination, group, monotonic_seconds)
        ]

    def due(self, monotonic_seconds: float) -> list[Sealed]:
        """The batches whose linger is over."""
        due = list(
            takewhile(lambda one: self._open[one].due_seconds <= monotonic_seconds, self._open)
        )
        return [self._seal(destination, FlushTrigger.LINGER) for destination in due]

    def next_deadline(self) -> float | None:
        """When the next open batch is due, in monotonic seconds; None with no batch open."""
        first = next(iter(self._open.values()), None)
        return first.due_seconds if first is not None else None

    def drain(self, assignments: Set[Assignment]) -> list[Sealed]:
        """Seal every open batch that holds a row of these assignments, whatever its age."""
        holding = [
            destination
            for destination, batch in self._open.items()
            if not assignments.isdisjoint(batch.shares)
        ]
        return [self._seal(destination, FlushTrigger.DRAIN) for destination in holding]

    def take_back(self, assignments: Set[Assignment]) -> list[Row]:
        """Take the rows of these assignments out of the open batches, and return them."""
        taken_back: list[Row] = []
        for destination, batch in list(self._open.items()):
            kept = [row for row in batch.rows if row.assignment not in assignments]
            if len(kept) == len(batch.rows):
                continue
            taken_back.extend(row for row in batch.rows if row.assignment in assignments)
            if not kept:
                del self._open[destination]
                continue
            batch.rows = kept
            for assignment in assignments & batch.shares.keys():
                del batch.shares[assignment]
            batch.body_bytes = len(batch.header) + sum(len(row.line) for row in kept)
        return taken_back

    def seal_ordered(self, rows: Iterable[Row]) -> list[Sealed]:
        """Seal the open batches whose rows have an order with these rows."""
        lanes = {row.destination[:3] for row in rows if row.destination.resource in self._ordered}
        return self._seal_lanes(lanes)

    def _add_group(
        self, destination: Destination, rows: Sequence[Row], monotonic_seconds: float
    ) -> Iterator[Sealed]:
        sizes = [len(row.line) for row in rows]
        start = 0
        while start < len(rows):
            batch = self._open.get(destination)
            if batch is None:
                if destination.resource in self._ordered:
                    # The same rows with other columns: they go first.
                    yield from self._seal_lanes({destination[:3]})
                batch = self._begin(destination, monotonic_seconds)
            end = self._end_of_fitting(batch, sizes, start)
            fitting = rows[start:end]
            batch.rows += fitting
            add_to_shares(batch.shares, fitting)
            batch.body_bytes += sum(sizes[start:end])
            if len(batch.rows) >= self._limits.rows_max:
                yield self._seal(destination, FlushTrigger.ROWS)
            elif end < len(rows):
                yield self._seal(destination, FlushTrigger.BYTES)
            start = end

    def _end_of_fitting(self, batch: _Open, sizes: Sequence[int], start: int) -> int:
        """Return the end of the rows from `start` on for which the batch has room.

        An empty batch has room for a row of any size.
        """
        end = min(len(sizes), start + self._limits.rows_max - len(batch.rows))
        room = self._limits.body_bytes_max - batch.body_bytes
        if sum(sizes[start:end]) <= room:
            return end
        fitting = bisect_right(list(accumulate(sizes[start:end])), room)
        return start + max(fitting, 0 if batch.rows else 1)

    def _begin(self, destination: Destination, monotonic_seconds: float) -> _Open:
        line = self._head(destination)
        batch = _Open(line, monotonic_seconds + self._limits.linger_seconds, len(line))
        self._open[destination] = batch
        return batch

    def _seal_lanes(self, lanes: Set[tuple[str, int, Identity]]) -> list[Sealed]:
        """Seal the open batches of these resources, applications and identity kinds."""
        in_lanes = [destination for destination in self._open if destination[:3] in lanes]
        return [self._seal(destination, FlushTrigger.ORDER) for destination in in_lanes]

    def _seal(self, destination: Destination, trigger: FlushTrigger) -> Sealed:
        gathered = self._open.pop(destination)
        batch_id = f"{self._prefix}-{next(self._numbers)}"
        batch = Batch(
            batch_id,
            destination,
            gathered.header,
            tuple(gathered.rows),
            gathered.body_bytes,
            gathered.shares,
        )
        return Sealed(batch, trigger)


def _groups(rows: Iterable[Row]) -> Iterable[tuple[Destination, list[Row]]]:
    """Return the rows of each destination, in order."""
    groups: defaultdict[Destination, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.destination].append(row)
    return groups.items()


def _runs(rows: Iterable[Row]) -> Iterator[tuple[Destination, list[Row]]]:
    """Return rows of one destination that follow each other."""
    for destination, run in groupby(rows, attrgetter("destination")):
        yield destination, list(run)

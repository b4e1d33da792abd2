"""The rows of one request, frozen, and what the books need of them."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from worker.core.model.record import Assignment
from worker.core.model.row import Destination, Row

_assignment = attrgetter("assignment")


class FlushTrigger(StrEnum):
    """The reason for which a batch was sealed."""

    ROWS = "rows"
    BYTES = "bytes"
    LINGER = "linger"
    DRAIN = "drain"
    ORDER = "order"


class RequestForm(StrEnum):
    """The form of a request: CSV in its body, or one row in its query string."""

    BODY = "body"
    PARAMS = "params"


def _integers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Share:
    """The rows of one assignment in a batch, as columns, for all that concerns them as a whole.

    Rows wait among tens of thousands, and are in no cache of the processor when they are answered:
    to touch each of them costs more than the work on it. So the columns are gathered while the rows
    are new, and an answer touches none of them. Times are as in `Row` and `Record`. Arrays have
    what no row holds as an object.
    """

    keys: list[bytes] = field(default_factory=list)
    offsets: array[int] = field(default_factory=_integers)
    event_timestamps: list[int] = field(default_factory=list)
    record_timestamps: array[int] = field(default_factory=_integers)
    oldest_event_timestamp: int = sys.maxsize
    size_bytes: int = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows of this assignment."""
        records = [row.record for row in rows]
        self.keys += [row.key for row in rows]
        self.offsets.fromlist([record.offset for record in records])
        event_timestamps = [row.event_timestamp for row in rows]
        self.event_timestamps += event_timestamps
        self.oldest_event_timestamp = min([self.oldest_event_timestamp, *event_timestamps])
        self.record_timestamps.fromlist([record.timestamp for record in records])
        self.size_bytes += sum([row.size_bytes for row in rows])


Shares = Mapping[Assignment, Share]


def add_to_shares(shares: dict[Assignment, Share], rows: Iterable[Row]) -> None:
    """Add each of these rows to the share of its assignment."""
    # By runs: rows of a chunk follow each other.
    for assignment, run in groupby(rows, _assignment):
        share = shares.get(assignment)
        if share is None:
            share = shares[assignment] = Share()
        share.add(list(run))


def shares_of(rows: Iterable[Row]) -> Shares:
    """Return the shares of these rows."""
    shares: dict[Assignment, Share] = {}
    add_to_shares(shares, rows)
    return shares


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of one destination, sealed: the same batch id always means the same bytes.

    The body isn't kept: it is joined from the lines for each attempt, to the same bytes. So a batch
    that waits through an outage is in memory once, not twice.
    """

    id: str
    destination: Destination
    header: bytes
    rows: tuple[Row, ...]
    body_bytes: int
    shares: Shares

    @classmethod
    def of(
        cls, batch_id: str, destination: Destination, header: bytes, rows: tuple[Row, ...]
    ) -> Batch:
        """Return a batch of these rows."""
        body_bytes = len(header) + sum(len(row.line) for row in rows)
        return cls(batch_id, destination, header, rows, body_bytes, shares_of(rows))

    def body(self) -> bytes:
        """The CSV body: the header line and the rows' lines, each ended by a newline.

        In the form `params`, the row's query.
        """
        # One join: `header + lines` would hold a second body for a moment.
        return b"".join([self.header, *[row.line for row in self.rows]])

    @property
    def oldest_event_timestamp(self) -> int:
        """The earliest event time among the rows, in Unix seconds."""
        return oldest_event_timestamp(self.shares)

    @property
    def size_bytes(self) -> int:
        """What holding the rows costs, their records included."""
        return sum(share.size_bytes for share in self.shares.values())


def oldest_event_timestamp(shares: Shares) -> int:
    """Return the earliest event time of shares of at least one row, in Unix seconds."""
    return min([share.oldest_event_timestamp for share in shares.values()])

"""The body of one request, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.core.model.row import Destination, Row


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

    def body(self) -> bytes:
        """The CSV body: the header line and the rows' lines, each ended by a newline.

        In the form `params`, the row's query.
        """
        return self.header + b"".join([row.line for row in self.rows])

    @property
    def oldest_event_timestamp(self) -> int:
        """The earliest event time among the rows, in Unix seconds."""
        return min(row.event_timestamp for row in self.rows)

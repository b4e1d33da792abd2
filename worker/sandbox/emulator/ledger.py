"""The emulator's own list of every request and of every row that it accepted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request with its answer.

    `answer` is a status, or how the connection ended without a status.
    """

    number: int
    request_id: str
    resource: str
    application_id: int | None
    answer: str
    reason: str
    rows_kept: int
    bytes: int
    sha256: str
    unix_seconds: float


@dataclass(frozen=True, slots=True)
class KeptRow:
    """An accepted row: its request, and its cells by column."""

    number: int
    request_number: int
    request_id: str
    resource: str
    columns: tuple[str, ...]
    cells: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The row as a JSON document, without empty cells."""
        values = {name: cell for name, cell in zip(self.columns, self.cells, strict=True) if cell}
        return {
            "number": self.number,
            "request_number": self.request_number,
            "request_id": self.request_id,
            "resource": self.resource,
            "values": values,
        }


class RequestLedger:
    """Requests and rows in the order of their acceptance.

    Args:
        entries_max: the maximum number of requests, and of rows, to keep. The rest is counted only,
            and the summary is marked as incomplete.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._changed = asyncio.Condition()
        self.requests: list[ReceivedRequest] = []
        self.rows: list[KeptRow] = []
        self._requests_total = 0
        self._rows_total = 0
        self._answers: Counter[str] = Counter()
        self._rows_by_application: Counter[str] = Counter()
        self._rows_by_resource: Counter[str] = Counter()

    @property
    def rows_total(self) -> int:
        """The number of accepted rows."""
        return self._rows_total

    @property
    def requests_total(self) -> int:
        """The number of received requests."""
        return self._requests_total

    async def enter(
        self, request: ReceivedRequest, columns: tuple[str, ...], cells: list[tuple[str, ...]]
    ) -> None:
        """Add a request and its accepted rows."""
        self._requests_total += 1
        self._answers[request.answer] += 1
        if len(self.requests) < self._entries_max:
            self.requests.append(request)
        self._rows_total += request.rows_kept
        self._rows_by_application[str(request.application_id)] += request.rows_kept
        self._rows_by_resource[request.resource] += request.rows_kept
        room = self._entries_max - len(self.rows)
        first = len(self.rows)
        self.rows.extend(
            KeptRow(
                first + index, request.number, request.request_id, request.resource, columns, row
            )
            for index, row in enumerate(cells[:room])
        )
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(
        self, is_reached: Callable[[RequestLedger], bool], timeout_seconds: float
    ) -> None:
        """Wait until the ledger meets a condition.

        Raises:
            TimeoutError: it did not in time; the message is the summary.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(lambda: is_reached(self))
        except TimeoutError:
            raise TimeoutError(f"not within {timeout_seconds} s: {self.summary()}") from None

    def clear(self) -> None:
        """Forget every request and row."""
        self.requests.clear()
        self.rows.clear()
        self._requests_total = self._rows_total = 0
        for counter in (self._answers, self._rows_by_application, self._rows_by_resource):
            counter.clear()

    def summary(self) -> dict[str, object]:
        """The counts as a JSON document."""
        return {
            "requests_total": self._requests_total,
            "requests_by_answer": dict(self._answers),
            "rows_total": self._rows_total,
            "rows_by_application": {
                name: count for name, count in self._rows_by_application.items() if count
            },
            "rows_by_resource": {
                name: count for name, count in self._rows_by_resource.items() if count
            },
            "is_complete": self._rows_total == len(self.rows)
            and self._requests_total == len(self.requests),
        }

    def page_of_requests(self, after: int, limit: int) -> list[dict[str, object]]:
        """Requests from this index on, as JSON documents."""
        return [asdict(request) for request in self.requests[after : after + limit]]

    def page_of_rows(self, after: int, limit: int) -> list[dict[str, object]]:
        """Rows from this index on, as JSON documents."""
        return [row.as_dict() for row in self.rows[after : after + limit]]

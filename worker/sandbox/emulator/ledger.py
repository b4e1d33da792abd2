"""The emulator's own account: every request and every row that it kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was answered.

    `answer` is a status, or how the connection ended without one.
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
    """One accepted row: the request that brought it, and its cells by column, empty
    ones left out.
    """

    number: int
    request_number: int
    request_id: str
    resource: str
    columns: tuple[str, ...]
    cells: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        values = {name: cell for name, cell in zip(self.columns, self.cells, strict=True) if cell}
        return {
            "number": self.number,
            "request_number": self.request_number,
            "request_id": self.request_id,
            "resource": self.resource,
            "values": values,
        }


class Ledger:
    """Requests and rows in the order of their acceptance.

    Args:
        entries_max: how many rows, and how many requests, are kept in full. What is beyond is only
            counted, and the summary says so.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._changed = asyncio.Condition()
        self.requests: list[Request] = []
        self.rows: list[KeptRow] = []
        self._requests_total = 0
        self._rows_total = 0
        self._answers: Counter[str] = Counter()
        self._rows_by_application: Counter[str] = Counter()
        self._rows_by_resource: Counter[str] = Counter()

    @property
    def rows_total(self) -> int:
        """How many rows were accepted."""
        return self._rows_total

    @property
    def requests_total(self) -> int:
        """How many requests came."""
        return self._requests_total

    async def enter(
        self, request: Request, columns: tuple[str, ...], cells: list[tuple[str, ...]]
    ) -> None:
        """Note a request and the rows kept of it."""
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

    async def wait_for(self, is_so: Callable[[Ledger], bool], timeout_seconds: float) -> None:
        """Wait until the ledger satisfies this.

        Raises:
            TimeoutError: it didn't in time; the message is the summary.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(lambda: is_so(self))
        except TimeoutError:
            raise TimeoutError(f"not within {timeout_seconds} s: {self.summary()}") from None

    def clear(self) -> None:
        """Forget everything."""
        self.requests.clear()
        self.rows.clear()
        self._requests_total = self._rows_total = 0
        for counter in (self._answers, self._rows_by_application, self._rows_by_resource):
            counter.clear()

    def summary(self) -> dict[str, object]:
        """The counts, for JSON."""
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
        """Requests from a place in the list on, for JSON."""
        return [asdict(request) for request in self.requests[after : after + limit]]

    def page_of_rows(self, after: int, limit: int) -> list[dict[str, object]]:
        """Rows from a place in the list on, for JSON."""
        return [row.as_dict() for row in self.rows[after : after + limit]]

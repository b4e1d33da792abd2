"""The fault plan: what fails for which requests, for how long or how often."""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from dataclasses import dataclass, fields
from enum import StrEnum


class FaultKind(StrEnum):
    """The kinds of faults."""

    STATUS = "status"  # answered with `status`, and `retry_after` as that header
    DELAY = "delay"  # answered as usual, `delay_seconds` later
    RESET_BEFORE = "reset_before"  # the connection is reset before the body is read
    RESET_DURING = "reset_during"  # the connection is reset after a part of the body is read
    RESET_AFTER = "reset_after"  # the connection is reset after the body is read; no row is kept
    ACCEPT_THEN_DROP = "accept_then_drop"  # the rows are kept, and no answer comes
    BROKEN_BODY = "broken_body"  # 200 with rows kept, but the answer's body breaks off
    REDIRECT = "redirect"  # answered with `status` and `location`
    SLOW_DRIP = (
        "slow_drip"  # 200 with rows kept, the body one byte at a time, `delay_seconds` apart
    )
    # answered as usual, `delay_seconds` later for each row; kept although the sender has given up
    SLOW_ROWS = "slow_rows"
    HANG = "hang"  # no answer comes, and no row is kept


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """An entry of the plan.

    It affects requests of `application_id` (None: any) with `text` in their rows (None: any), the
    first `count` requests (None: any number), for `seconds` after it was planned (None: until the
    plan changes). `status` None is 503, or 302 for a redirect.
    """

    kind: FaultKind
    application_id: int | None = None
    text: str | None = None
    count: int | None = None
    seconds: float | None = None
    status: int | None = None
    retry_after: str | None = None
    delay_seconds: float = 0.0
    location: str = "/elsewhere"

    @property
    def answer_status(self) -> int:
        """The status of the answer."""
        if self.status is not None:
            return self.status
        return 302 if self.kind is FaultKind.REDIRECT else 503


class PlanError(ValueError):
    """An invalid plan; the message says what is wrong and where."""


class FaultPlan:
    """The entries in force; the first matching entry is used."""

    def __init__(self) -> None:
        self._entries: list[tuple[PlannedFault, float]] = []
        self._used: list[int] = []

    def replace(self, entries: Iterable[PlannedFault], monotonic_seconds: float) -> None:
        """Replace all entries."""
        self._entries = [(entry, monotonic_seconds) for entry in entries]
        self._used = [0] * len(self._entries)

    @property
    def reads_rows(self) -> bool:
        """True if an entry depends on the content of rows."""
        return any(entry.text is not None for entry, _ in self._entries)

    def take(
        self, applications: Set[int], rows: str, monotonic_seconds: float
    ) -> PlannedFault | None:
        """The fault of a request, which is counted; None for no fault.

        `applications` are those of the request's key. `rows` is the text of its rows, which may be
        empty unless `reads_rows`.
        """
        for index, (entry, since) in enumerate(self._entries):
            if entry.application_id is not None and entry.application_id not in applications:
                continue
            if entry.text is not None and entry.text not in rows:
                continue
            if entry.count is not None and self._used[index] >= entry.count:
                continue
            if entry.seconds is not None and monotonic_seconds - since >= entry.seconds:
                continue
            self._used[index] += 1
            return entry
        return None

    def entries(self) -> list[PlannedFault]:
        """The entries in force."""
        return [entry for entry, _ in self._entries]


_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "application_id": (int, type(None)),
    "text": (str, type(None)),
    "count": (int, type(None)),
    "seconds": (int, float, type(None)),
    "status": (int, type(None)),
    "retry_after": (str, type(None)),
    "delay_seconds": (int, float),
    "location": (str,),
}


def parse(plan: object) -> list[PlannedFault]:
    """Parse a plan: a list of objects with the fields of `PlannedFault`.

    Raises:
        PlanError: the document is not a plan.
    """
    if not isinstance(plan, list):
        raise PlanError("a plan is a list of faults")
    return [_parse_one(index, entry) for index, entry in enumerate(plan)]


def _parse_one(index: int, entry: object) -> PlannedFault:
    if not isinstance(entry, dict):
        raise PlanError(f"fault {index} is not an object")
    known = [field.name for field in fields(PlannedFault)]
    for name, value in entry.items():
        if name not in known:
            raise PlanError(f"fault {index}: unknown field {name!r}; known are {', '.join(known)}")
        if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            raise PlanError(f"fault {index}: {name} can't be {value!r}")
    try:
        kind = FaultKind(str(entry.get("kind")))
    except ValueError:
        raise PlanError(f"fault {index}: kind is one of {', '.join(FaultKind)}") from None
    fault = PlannedFault(**{**entry, "kind": kind})
    # 1xx is no final answer: the client would continue to wait.
    if not 200 <= fault.answer_status <= 599:
        raise PlanError(f"fault {index}: status is between 200 and 599")
    for name in ("retry_after", "location"):
        if not (getattr(fault, name) or "").isprintable():
            raise PlanError(
                f"fault {index}: {name} is a header, and can't hold {getattr(fault, name)!r}"
            )
    if fault.delay_seconds < 0 or not math.isfinite(fault.delay_seconds):
        raise PlanError(f"fault {index}: delay_seconds can't be {fault.delay_seconds}")
    return fault

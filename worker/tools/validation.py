"""What the worker would do with the records of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from worker.core.model.clock import Now
from worker.core.model.fault import Rejection
from worker.core.model.record import NO_EPOCH, Assignment
from worker.core.model.row import Destination, Row
from worker.tools.dry_run import DryRun
from worker.tools.file_formats import Chunk, FileRecord, Unreadable

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a record."""

    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What would become of one record.

    Either `key` (hexadecimal) or faults; a duplicate has a key too.
    """

    line: int
    key: str | None
    is_duplicate: bool
    faults: tuple[Fault, ...]

    def document(self) -> dict[str, object]:
        """For machines."""
        ending = (
            "dead-lettered" if self.faults else "duplicate" if self.is_duplicate else "delivered"
        )
        faults = [
            {"reason": one.reason, "field": one.field, "message": one.message}
            for one in self.faults
        ]
        return {"line": self.line, "ending": ending, "key": self.key, "faults": faults}


@dataclass(slots=True)
class Summary:
    """What became of all records.

    `by_reason` counts each bad record once, under its first fault, as the worker does.
    """

    records: int = 0
    delivered: int = 0
    duplicates: int = 0
    bad: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "records": self.records,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "bad": self.bad,
            "by_reason": dict(self.by_reason.most_common()),
        }


class Validation:
    """Judges chunk by chunk.

    Args:
        judge: the routes.
        topic: the route of records that name none, or one without a route.
        is_routed: whether the topics that records name count at all.
        take: gets the bad records' verdicts, or with `is_each` everyone's.
        take_rows: gets the rows that would be delivered.
    """

    def __init__(
        self,
        judge: DryRun,
        topic: str,
        *,
        is_routed: bool,
        is_each: bool,
        take: Callable[[Verdict], None],
        take_rows: Callable[[Sequence[Row]], None],
    ) -> None:
        self._judge = judge
        self._topic = topic
        self._is_routed = is_routed
        self._is_each = is_each
        self._take = take
        self._take_rows = take_rows
        self.summary = Summary()

    def judge(self, chunk: Chunk, now: Now) -> None:
        """Judge these."""
        self.summary.records += len(chunk)
        verdicts: list[Verdict] = []
        for topic, records in self._by_topic(chunk, verdicts).items():
            parts = self._judge.parts(topic)
            rows, rejections = parts.intake.read(Assignment(topic, 0, NO_EPOCH), records, now)
            fresh = parts.window.admit(rows, now.monotonic_seconds).fresh
            # In a file everything counts as delivered at once: its next appearance is a duplicate.
            parts.window.deliver(fresh, now.monotonic_seconds)
            self.summary.delivered += len(fresh)
            self.summary.duplicates += len(rows) - len(fresh)
            self._take_rows(fresh)
            verdicts += map(_rejected, rejections)
            if self._is_each:
                verdicts += _accepted(rows, fresh)
        for verdict in sorted(verdicts, key=lambda one: one.line):
            if verdict.faults:
                self.summary.bad += 1
                self.summary.by_reason[verdict.faults[0].reason] += 1
            self._take(verdict)

    def _by_topic(self, chunk: Chunk, verdicts: list[Verdict]) -> dict[str, list[FileRecord]]:
        found: dict[str, list[FileRecord]] = {}
        for record in chunk:
            if isinstance(record, Unreadable):
                verdicts.append(
                    Verdict(record.line, None, False, (Fault(UNREADABLE, "", record.message),))
                )
                continue
            topic = record.topic if self._is_routed and record.topic in self._judge.routes else None
            found.setdefault(topic or self._topic, []).append(record)
        return found


def _rejected(rejection: Rejection) -> Verdict:
    faults = tuple(Fault(one.reason.value, one.field, one.message) for one in rejection.faults)
    return Verdict(rejection.record.offset, None, False, faults)


def _accepted(rows: Sequence[Row], fresh: Sequence[Row]) -> Iterable[Verdict]:
    first = set(map(id, fresh))
    return [Verdict(row.record.offset, row.key.hex(), id(row) not in first, ()) for row in rows]


def csv_name(destination: Destination, number: int) -> str:
    """The name of the file for the rows of this destination, the so-manieth of its resource,
    application and identity.

    With `columns: exact` there are several: one for each set of columns.
    """
    name = f"{destination.resource}-{destination.application_id}-{destination.identity.value}"
    return f"{name}.csv" if number == 1 else f"{name}-{number}.csv"

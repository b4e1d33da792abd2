"""Reconciles what was produced with the emulator's ledger and the dead-letter topic.

produced = delivered + duplicates dropped + skipped + dead-lettered
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from worker.core.post_api.resource import EVENT_TIMESTAMP
from worker.sandbox.emulator.ledger import KeptRow
from worker.sandbox.import_samples import DETAILS
from worker.sandbox.samples import Sample

REASON_HEADER = "__appmetrica.errors.reason"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The counts of all samples, and the faults: empty if every record is accounted for."""

    produced: int
    delivered: int
    delivered_twice: int
    duplicates_dropped: int
    skipped: int
    dead_lettered: Counter[str]
    faults: tuple[str, ...]

    @property
    def equation(self) -> str:
        """The equation of the counts."""
        dropped = self.duplicates_dropped + self.skipped
        settled = self.delivered + dropped + self.dead_lettered.total()
        sign = "=" if settled == self.produced else "≠"
        return (
            f"produced {self.produced:,} {sign} delivered {self.delivered:,} + duplicates "
            f"dropped {self.duplicates_dropped:,} + skipped {self.skipped:,}"
            f" + dead-lettered {self.dead_lettered.total():,}"
        )


def reconcile(
    produced: Sequence[Sample],
    rows: Iterable[KeptRow],
    dead_letters: Iterable[ConsumerRecord[bytes, bytes]],
    duplicates_dropped: int,
    skipped: int = 0,
) -> Reconciliation:
    """Compare what was produced with what arrived.

    Args:
        produced: the samples, in order.
        rows: the emulator's accepted rows.
        dead_letters: the dead-letter topic's records.
        duplicates_dropped: the worker's own count.
        skipped: the worker's own count; the samples show how many there are.
    """
    rows = list(rows)
    arrivals = Counter(event_number(row) for row in rows)
    letters = _DeadLetters.of(produced, dead_letters)
    dead_lettered = letters.reasons
    return Reconciliation(
        produced=len(produced),
        delivered=len(arrivals),
        delivered_twice=arrivals.total() - len(arrivals),
        duplicates_dropped=duplicates_dropped,
        skipped=skipped,
        dead_lettered=dead_lettered,
        faults=_named(
            {
                **_faults_of_rows(produced, rows, arrivals),
                **letters.faults,
                "records skipped that should not be, or the reverse": abs(
                    skipped - sum(sample.is_skipped for sample in produced)
                ),
                "records that are not accounted for": len(produced)
                - len(arrivals)
                - duplicates_dropped
                - skipped
                - dead_lettered.total(),
            }
        ),
    )


@dataclass(frozen=True, slots=True)
class _DeadLetters:
    """The dead letters by reason, and the counts of their faults."""

    reasons: Counter[str]
    faults: dict[str, int]

    @classmethod
    def of(
        cls, produced: Sequence[Sample], dead_letters: Iterable[ConsumerRecord[bytes, bytes]]
    ) -> _DeadLetters:
        expected = {
            sample.key: sample.dead_lettered_as for sample in produced if sample.dead_lettered_as
        }
        keys: Counter[bytes] = Counter()
        reasons: Counter[str] = Counter()
        wrong_reasons = 0
        for record in dead_letters:
            reason = dict(record.headers)[REASON_HEADER].decode()
            key = record.key or b""
            keys[key] += 1
            reasons[reason] += 1
            wrong_reasons += expected.get(key) != reason
        faults = {
            "invalid records without a dead letter": len(expected.keys() - keys.keys()),
            "dead letters with another reason than expected": wrong_reasons,
            "records dead-lettered twice": keys.total() - len(keys),
        }
        return cls(reasons, faults)


def _faults_of_rows(
    produced: Sequence[Sample], rows: Sequence[KeptRow], arrivals: Counter[int]
) -> dict[str, int]:
    expected = {
        sample.identifier: sample.unix_seconds
        for sample in produced
        if not (sample.dead_lettered_as or sample.is_skipped)
    }
    return {
        "events lost": len(expected.keys() - arrivals.keys()),
        "events delivered that should not be": len(arrivals.keys() - expected.keys()),
        "rows delivered twice": arrivals.total() - len(arrivals),
        "events delivered with another time": sum(
            _event_timestamp(row) not in (None, expected.get(event_number(row))) for row in rows
        ),
        "profile updates delivered after a newer one": _overtaken(rows),
    }


def _event_timestamp(row: KeptRow) -> int | None:
    """The time of a row; None for a profile."""
    if EVENT_TIMESTAMP.name not in row.columns:
        return None
    return int(row.cells[row.columns.index(EVENT_TIMESTAMP.name)])


def event_number(row: KeptRow) -> int:
    """The number of the sample that was delivered as this row."""
    cell = row.cells[row.columns.index(DETAILS[row.resource])]
    return int(json.loads(cell)["event_number"])


def _overtaken(rows: Iterable[KeptRow]) -> int:
    """The number of profile updates that were accepted after a newer update of their profile."""
    newest: dict[tuple[str, ...], int] = {}
    overtaken = 0
    for row in rows:
        if row.resource != "profiles":
            continue
        profile = tuple(
            cell for name, cell in zip(row.columns, row.cells, strict=True) if name != "attributes"
        )
        number = event_number(row)
        overtaken += number < newest.get(profile, number)
        newest[profile] = max(number, newest.get(profile, number))
    return overtaken


def _named(counts: dict[str, int]) -> tuple[str, ...]:
    return tuple(f"{count} {name}" for name, count in counts.items() if count)

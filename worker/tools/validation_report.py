"""What `validate` reports: the result of a record, warnings, the counts of a file, a hint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from worker.core.counters.counters import CUT, DROPPED, PRECISION, UNKNOWN, ContractDrift
from worker.core.model.fault import Rejection
from worker.core.model.record import SkipReason
from worker.core.post_api.column import DEVICE_BLOCK
from worker.core.post_api.resource import IDENTITY_COLUMNS, RESOURCES
from worker.settings.routing import ResolvedRoute
from worker.tools.dead_letters.record import RecordFault

UNUSUAL, WITHOUT_KEY = "unusual", "without_key"
# Enough to know what the records of a file are.
GUESS_RECORDS_MAX = 100
_ENVELOPE = "an envelope"
_ENVELOPE_FIELDS = {"type", "data"}
_MEANINGS = {
    CUT: "longer than 30 KB: the API cuts the value",
    PRECISION: "more than 8 digits after the point, the API's documented limit",
    DROPPED: "invalid: delivered without the value (invalid_optional is drop)",
    UNKNOWN: "unknown field: ignored (unknown_fields is ignore)",
}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
# The fields that tell resources apart, and those that all have.
_COMMON = {column.name for column in (*IDENTITY_COLUMNS.values(), *DEVICE_BLOCK)}
_NAMES = {
    name: {column.name for column in resource.columns} - _COMMON
    for name, resource in RESOURCES.items()
}
_KNOWN = {
    column.name: ", ".join(column.known)
    for resource in RESOURCES.values()
    for column in resource.columns
    if column.known
}


def add_drift(drift: ContractDrift, to: ContractDrift) -> None:
    """Add the counts of one drift to another."""
    to.unusual_values.update(drift.unusual_values)
    to.without_key.update(drift.without_key)
    to.drifts.update(drift.drifts)


class Warnings:
    """Counts of what the worker delivers and counts as a difference from the contract.

    A difference that makes a record invalid is a fault of the record, and no warning.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, drift: ContractDrift, route: ResolvedRoute) -> None:
        """Count the differences of records of a route."""
        for name, count in drift.unusual_values.items():
            self._counts[name, UNUSUAL] += count
        delivered = {CUT, PRECISION, DROPPED}
        if route.unknown_fields == "ignore":
            delivered.add(UNKNOWN)
        for one, count in drift.drifts.items():
            if one.change in delivered:
                self._counts[one.field, one.change] += count
        if route.key.without_key not in (None, "reject"):
            place = route.key.header or ", ".join(route.key.fields)
            for why, count in drift.without_key.items():
                self._counts[place, f"{WITHOUT_KEY}:{why}"] += count

    def lines(self) -> list[str]:
        """A line for people per kind of warning, the most frequent first."""
        return [
            f"{name} ({count:,} records): {_meaning(name, change)}"
            for (name, change), count in self._counts.most_common()
        ]

    def document(self) -> list[dict[str, object]]:
        """The warnings as a JSON document, the most frequent first."""
        return [
            {"field": name, "change": change, "records": count}
            for (name, change), count in self._counts.most_common()
        ]


def _meaning(name: str, change: str) -> str:
    if change == UNUSUAL:
        return f"a value that the API's documentation doesn't have; known: {_KNOWN[name]}"
    if change.startswith(WITHOUT_KEY):
        return f"no key for deduplication, {change.partition(':')[2]}"
    return _MEANINGS[change]


class Guess:
    """Guesses from the names of their fields what the invalid records of a file are."""

    def __init__(self) -> None:
        self._seen = 0
        self._fits: set[str] = {*RESOURCES, _ENVELOPE}

    def look_at(self, rejections: Iterable[Rejection], applied: str) -> None:
        """Compare the fields of invalid records with those of all resources."""
        for rejection in rejections:
            if not self._fits or self._seen >= GUESS_RECORDS_MAX:
                return
            self._seen += 1
            self._fits &= _fitting(rejection.record.value, applied)

    @property
    def hint(self) -> str:
        """What all of the records seem to be; empty if that isn't clear."""
        if not self._seen or len(self._fits) != 1:
            return ""
        (kind,) = self._fits
        if kind == _ENVELOPE:
            return "The records look like envelopes (type, data): set form: envelope for the route"
        return f"The records look like records of {kind}: --resource {kind}"


def _fitting(value: bytes | None, applied: str) -> set[str]:
    """The resources that have more of the record's fields than the applied one; or an envelope."""
    try:
        found = _object.decode(value or b"").keys()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return set()
    if found >= _ENVELOPE_FIELDS and "specversion" not in found:
        return {_ENVELOPE}
    shared = {name: len(names & found) for name, names in _NAMES.items()}
    most = max(shared.values())
    if most == shared[applied]:
        return set()
    return {name for name, count in shared.items() if count == most}


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What the worker would do with a record.

    It has a `key` (hexadecimal), faults, or a reason why it is skipped; a duplicate has a key too.
    `by` is what the key is made of: `key` (the producer's own), `content`, or `record` (it is a
    duplicate of no other).
    """

    line: int
    key: str | None
    is_duplicate: bool
    faults: tuple[RecordFault, ...]
    by: str | None = None
    skipped: SkipReason | None = None

    def document(self) -> dict[str, object]:
        """The result as a JSON document."""
        ending = "delivered"
        if self.skipped is not None:
            ending = f"skipped, {self.skipped.value}"
        elif self.faults:
            ending = "dead-lettered"
        elif self.is_duplicate:
            ending = "duplicate"
        faults = [
            {"reason": one.reason, "field": one.field, "message": one.message}
            for one in self.faults
        ]
        return {
            "line": self.line,
            "ending": ending,
            "key": self.key,
            "key_by": self.by,
            "faults": faults,
        }


@dataclass(slots=True)
class Summary:
    """Counts of all results.

    `by_reason` counts each invalid record once, by its first fault, as the worker does.
    """

    records: int = 0
    delivered: int = 0
    duplicates: int = 0
    duplicates_by_content: int = 0
    skipped: int = 0
    bad: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    warnings: Warnings = field(default_factory=Warnings)
    guess: Guess = field(default_factory=Guess)

    def note(
        self, drift: ContractDrift, rejections: Sequence[Rejection], route: ResolvedRoute
    ) -> None:
        """Note what differs from the contract, and which fields invalid records have."""
        self.warnings.add(drift, route)
        if route.form == "json":
            self.guess.look_at(rejections, route.resource)

    @property
    def hint(self) -> str:
        """What the records seem to be, if all of them are invalid; else empty."""
        return self.guess.hint if self.bad == self.records else ""

    def document(self) -> dict[str, object]:
        """The counts as a JSON document."""
        return {
            "records": self.records,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "duplicates_by_content": self.duplicates_by_content,
            "skipped": self.skipped,
            "bad": self.bad,
            "by_reason": dict(self.by_reason.most_common()),
            "warnings": self.warnings.document(),
            "hint": self.hint or None,
        }

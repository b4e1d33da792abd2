"""The selection of a route: which records are its events, and which are skipped.

A topic may hold events of many kinds, and tombstones. A skipped record is settled at once and
counted; it is not delivered, remembered or dead-lettered. A value that can't be read is not
skipped: it may have been meant to be selected, so it is dead-lettered with its fault.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from worker.core.intake.decode import DECODE_FAILURES
from worker.core.intake.forms import header_texts
from worker.core.intake.framing import unframe
from worker.core.intake.json_object import value_at
from worker.core.intake.paths import Path
from worker.core.intake.rules import Condition, Framing, Selected, Tombstones
from worker.core.model.fault import FieldFault
from worker.core.model.record import Record, Skipped, SkipReason


class Selection:
    """Splits the records of one route.

    Args:
        conditions: all of them must hold for a record that is selected.
        tombstones: what becomes of records without a value.
        framing: how values are framed.
        value_bytes_max: a larger value is not read here: it is refused for its size.
    """

    def __init__(
        self,
        conditions: Sequence[Condition],
        tombstones: Tombstones,
        framing: Framing,
        value_bytes_max: int,
    ) -> None:
        self._value_bytes_max = value_bytes_max
        self._headers = [
            (one.place.lower(), frozenset(_text(value) for value in one.values))
            for one in conditions
            if isinstance(one.place, str)
        ]
        self._paths: list[tuple[Path, frozenset[tuple[type, Selected]]]] = [
            (one.place, frozenset((type(value), value) for value in one.values))
            for one in conditions
            if not isinstance(one.place, str)
        ]
        self._skips_tombstones = tombstones is Tombstones.SKIP
        self._framing = framing
        self._is_for_all = not (conditions or self._skips_tombstones)

    def split(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[Skipped]]:
        """The selected records, and those that are skipped, each in offset order."""
        if self._is_for_all:
            return records, []
        selected: list[Record] = []
        skipped: list[Skipped] = []
        for record in records:
            reason = self._reason_to_skip(record)
            if reason is None:
                selected.append(record)
            else:
                skipped.append(Skipped(record, reason))
        return selected, skipped

    def _reason_to_skip(self, record: Record) -> SkipReason | None:
        if record.value is None:
            # A tombstone has no value on which the conditions could be checked.
            return SkipReason.TOMBSTONE if self._skips_tombstones else None
        is_selected = self._has_headers(record) and self._has_values(record.value)
        return None if is_selected else SkipReason.NOT_SELECTED

    def _has_headers(self, record: Record) -> bool:
        if not self._headers:
            return True
        given = header_texts(record.headers)
        return all(given.get(name) in values for name, values in self._headers)

    def _has_values(self, value: bytes) -> bool:
        if not self._paths or len(value) > self._value_bytes_max:
            return True
        content = unframe(value, self._framing)
        if isinstance(content, FieldFault):
            return True
        try:
            return all(_scalar(value_at(content, path)) in values for path, values in self._paths)
        except msgspec.ValidationError:
            # JSON, but with an array or a text where the path needs an object.
            return False
        except DECODE_FAILURES:
            return True


def _scalar(raw: msgspec.Raw | None) -> tuple[type, Selected] | None:
    """A text, an integer or a boolean with its type: 1 is not true."""
    # A container is not decoded: it can be as large as the value, and equals nothing.
    if raw is None or bytes(memoryview(raw)[:1]) in (b"{", b"["):
        return None
    value = msgspec.json.decode(raw)
    return (type(value), value) if isinstance(value, str | int) else None


def _text(value: Selected) -> bytes:
    """A value as a header has it."""
    return (str(value).lower() if isinstance(value, bool) else str(value)).encode()

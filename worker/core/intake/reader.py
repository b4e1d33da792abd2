"""The reader of one resource's events: from an event's JSON to the cells of its row.

The fast pass reads nearly all events; the thorough pass reads what the fast pass doesn't accept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from worker.core.counters.counters import ContractDrift
from worker.core.intake.decode import (
    CHECKED_BY_TYPE,
    DECODE_FAILURES,
    Unknown,
    decode_key,
    value_decoder,
)
from worker.core.intake.dedup_key import UnusableKey, joined
from worker.core.intake.explain import Cells, explain
from worker.core.intake.faults import shown_name
from worker.core.intake.fields import Check
from worker.core.intake.json_object import note_unknown, object_fields, unknown_names, value_at
from worker.core.intake.layout import Layout
from worker.core.intake.rules import IntakeRules, TimeWindow, UnknownFields
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import Destination
from worker.core.post_api.column import Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity

PAIR = len(IDENTITY_COLUMNS)

# A valid event: its destination, its cells in the order of its line (empty for absent columns), its
# producer's key or why it has none; None where the route reads no key from the value. A plain
# tuple: a named tuple takes 0.3 µs to make.
ValidEvent = tuple[Destination, list[str], str | UnusableKey | None]


@dataclass(frozen=True, slots=True)
class InvalidEvent:
    """All faults of a record; never empty."""

    faults: tuple[FieldFault, ...]


class Reader:
    """The two passes over the events of one resource."""

    def __init__(self, rules: IntakeRules) -> None:
        self._rules = rules
        self._layout = layout = Layout.of(rules)
        self._decode, self._flatten = value_decoder(rules, layout, Unknown.FORBID)
        # Used after the strict decoder has failed: so unknown fields are noticed, and only the
        # records that have some cost more.
        is_lenient = rules.unknown_fields is UnknownFields.IGNORE
        self._lenient = value_decoder(rules, layout, Unknown.SKIP)[0] if is_lenient else None
        columns = [place.column for place in layout.places]
        names = [column.name for column in columns]
        self._end = len(columns)
        self._required = [index for index, column in enumerate(columns) if column.required]
        self._timestamp = next(
            (index for index, column in enumerate(columns) if column.kind is Kind.TIMESTAMP), None
        )
        self._application = names.index("application_id")
        # By the application's id as number and as text. One lookup finds out that the id is
        # well-formed, that it has a key, and where its rows go. Other spellings ("01111") are left
        # to the thorough pass.
        self._applications: dict[int | str, tuple[str, Destination, Destination]] = {
            spelling: (
                str(application_id),
                Destination(rules.resource.name, application_id, Identity.PROFILE_ID),
                Destination(rules.resource.name, application_id, Identity.DEVICE_ID),
            )
            for application_id in rules.applications
            for spelling in (application_id, str(application_id))
        }
        self._key_indexes = [layout.paths.index(key) for key in layout.keys]
        # Neither the struct's types nor a constant's text need a check of their own.
        self._checked = [
            (index, place.shown, place.check)
            for index, place in enumerate(layout.places)
            if place.column.kind not in CHECKED_BY_TYPE
            and place.path is not None
            and index != self._application
        ]
        # A record may repeat a constant with the same value.
        start = len(layout.paths) - len(layout.constants)
        self._checked += [
            (index, column, _check_of_constant(column, rules.constants[column.name]))
            for index, column in enumerate(layout.constants, start)
        ]
        # A line has one identity cell, the second: every column but the first is one place further
        # than in the table.
        self._name = (
            names.index(rules.resource.name_column) - PAIR + 1
            if rules.resource.name_column
            else None
        )

    def fast(
        self,
        value: bytes | msgspec.Raw,
        window: TimeWindow,
        drift: ContractDrift,
        timestamp: int | None = None,
    ) -> ValidEvent | None:
        """The hot path, 3 µs for an event of 300 B; None if anything is wrong or unusual.

        Args:
            value: the event's JSON.
            window: the accepted event times.
            drift: counts the fields that differ from the contract.
            timestamp: the time of an event that has no time of its own, in Unix seconds.
        """
        is_strict = True
        try:
            values: list[Any] = list(self._flatten(self._decode(value)))
        except DECODE_FAILURES:
            values, is_strict = self._decode_leniently(value), False
            if not values:
                return None
        # Of the values as the record has them, before the checks make cells of them.
        key = self._key(values) if self._key_indexes else None
        if timestamp is not None:
            self._date(values, timestamp)
        for index, column, check in self._checked:
            present = values[index]
            if present != "" and present is not None:
                cell = check(column, present, window)
                if type(cell) is not str:
                    return None
                values[index] = cell
        for index in self._required:
            if not values[index]:
                return None
        profile_id, device_id, application_id = values[0], values[1], values[self._application]
        spelled = self._applications.get(application_id)
        # A profile may be called 0, which is as false as none: the thorough pass tells them apart.
        if spelled is None or bool(profile_id) == bool(device_id) or profile_id == 0:
            return None
        values[self._application], by_profile, by_device = spelled
        cells = values[PAIR : self._end]
        cells.insert(1, profile_id or device_id)
        try:
            # 0.2 µs, less than a look for None: it finds integers of string columns too.
            "".join(cells)
        except TypeError:
            cells = ["" if cell is None else str(cell) for cell in cells]
        if not is_strict:
            self._note_unknown(value, cells, drift)
        return by_profile if profile_id else by_device, cells, key

    def thorough(
        self,
        value: bytes | msgspec.Raw | None,
        window: TimeWindow,
        drift: ContractDrift,
        timestamp: int | None = None,
    ) -> ValidEvent | InvalidEvent:
        """The event that the fast pass didn't accept, or all its faults."""
        result = explain(
            value, self._rules, window, layout=self._layout, timestamp=timestamp, drift=drift
        )
        if not isinstance(result, Cells):
            return InvalidEvent(result)
        texts = result.texts
        names = self._rules.resource.header(result.identity)
        _, by_profile, by_device = self._applications[texts["application_id"]]
        destination = by_profile if result.identity is Identity.PROFILE_ID else by_device
        return destination, [texts.get(name, "") for name in names], result.producer_key

    def has_time(self, value: bytes | msgspec.Raw) -> bool:
        """Whether the event has a time of its own, valid or not."""
        if self._timestamp is None:
            return False
        path = self._layout.places[self._timestamp].path
        try:
            raw = value_at(value, path) if path is not None else None
        except DECODE_FAILURES:
            return False
        return raw is not None and bytes(raw) not in (b"null", b'""')

    def _key(self, values: list[Any]) -> str | UnusableKey:
        texts: list[str] = []
        for index in self._key_indexes:
            value = values[index]
            if type(value) is msgspec.Raw:
                # The field of the event's time, where the route has a unit for it.
                try:
                    value = decode_key(value)
                except DECODE_FAILURES:
                    return UnusableKey.WRONG_TYPE
            texts.append("" if value is None else str(value))
        return joined(texts) or UnusableKey.MISSING

    def _date(self, values: list[Any], timestamp: int) -> None:
        """Set the time of an event that has no time of its own."""
        if self._timestamp is not None and values[self._timestamp] in (None, ""):
            values[self._timestamp] = timestamp

    def _decode_leniently(self, value: bytes | msgspec.Raw) -> list[Any]:
        """The values without unknown fields; empty if these aren't allowed or aren't the fault."""
        if self._lenient is None:
            return []
        try:
            # msgspec doesn't check whether the text of skipped fields is UTF-8.
            bytes(value).decode()
            return list(self._flatten(self._lenient(value)))
        except DECODE_FAILURES:
            return []

    def _note_unknown(
        self, value: bytes | msgspec.Raw, cells: list[str], drift: ContractDrift
    ) -> None:
        event_name = shown_name(cells[self._name]) if self._name is not None else ""
        fields = object_fields(value)
        if not isinstance(fields, FieldFault):
            note_unknown(list(unknown_names(fields, self._layout.root)), event_name, drift)


def _check_of_constant(column: Column, text: str) -> Check:
    """A check that accepts the spellings of a constant that the fast pass knows."""
    same = frozenset({text, int(text)} if column.kind is Kind.INTEGER else {text})
    other = FieldFault(Reason.OUT_OF_RANGE, column.name, f"expected {text}", text)

    def check(_column: Column, value: object, _window: TimeWindow) -> str | FieldFault:
        return text if type(value) is not msgspec.Raw and value in same else other

    return check

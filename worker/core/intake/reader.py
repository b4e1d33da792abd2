"""Reads the events of one resource: from an event's JSON to the cells of its row, by the fast pass
or by the thorough one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from worker.core.counters.counters import ContractDrift
from worker.core.intake.decode import CHECKED_BY_TYPE, DECODE_FAILURES, value_decoder
from worker.core.intake.explain import Cells, explain, note_unknown, object_fields, unknown_names
from worker.core.intake.fault_texts import shown_name
from worker.core.intake.fields import CHECKS
from worker.core.intake.places import Layout
from worker.core.intake.rules import IntakeRules, UnknownFields
from worker.core.intake.time_window import TimeWindow
from worker.core.model.fault import FieldFault
from worker.core.model.row import Destination
from worker.core.post_api.column import Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity

PAIR = len(IDENTITY_COLUMNS)


# An event that is in order: where it goes, its cells in the order of its line (empty for absent
# ones), its producer's key. A plain tuple: a named one takes 0.3 µs to make.
Event = tuple[Destination, list[str], str | None]


@dataclass(frozen=True, slots=True)
class Faults:
    """All that is wrong with a record; never empty."""

    faults: tuple[FieldFault, ...]


class Reader:
    """The two passes over the events of one resource."""

    def __init__(self, rules: IntakeRules) -> None:
        self._rules = rules
        self._layout = layout = Layout.of(rules)
        self._decode, self._flatten = value_decoder(rules, layout, forbids_unknown_fields=True)
        # Tried behind the strict one: so unknown fields are noticed, and only the records that have
        # some cost more.
        is_lenient = rules.unknown_fields is UnknownFields.IGNORE
        self._lenient = (
            value_decoder(rules, layout, forbids_unknown_fields=False)[0] if is_lenient else None
        )
        columns = [place.column for place in layout.places]
        names = [column.name for column in columns]
        self._end = len(columns)
        self._required = [index for index, column in enumerate(columns) if column.required]
        self._timestamp = next(
            (index for index, column in enumerate(columns) if column.kind is Kind.TIMESTAMP), None
        )
        self._application = names.index("application_id")
        # By the application's id as number and as text: that it is well-formed, that it has a key,
        # and where its rows go, are one look. Other spellings ("01111") are left to the thorough
        # pass.
        self._applications: dict[int | str, tuple[str, Destination, Destination]] = {
            spelling: (
                str(one),
                Destination(rules.resource.name, one, Identity.PROFILE_ID),
                Destination(rules.resource.name, one, Identity.DEVICE_ID),
            )
            for one in rules.applications
            for spelling in (one, str(one))
        }
        self._key_index = None if layout.key is None else layout.paths.index(layout.key)
        # What the struct's types don't already promise, and a constant's text doesn't either.
        self._checked = [
            (index, place.shown, CHECKS[place.column.kind])
            for index, place in enumerate(layout.places)
            if place.column.kind not in CHECKED_BY_TYPE
            and place.path is not None
            and index != self._application
        ]
        # A line has one identity cell, in second place: every column but the first stands one
        # further than in the table.
        self._name = (
            names.index(rules.resource.name_column) - PAIR + 1
            if rules.resource.name_column
            else None
        )

    def fast(
        self,
        value: bytes | msgspec.Raw,
        window: TimeWindow,
        remarks: ContractDrift,
        timestamp: int | None = None,
    ) -> Event | None:
        """The hot path, 3 µs for an event of 300 B; None where anything at all is wrong or unusual.

        Args:
            value: the event's JSON.
            window: the event times that are taken.
            remarks: where fields that differ from the contract are noted.
            timestamp: the time of an event that doesn't say it, in Unix seconds.
        """
        is_strict = True
        try:
            values: list[Any] = list(self._flatten(self._decode(value)))
        except DECODE_FAILURES:
            decoded = self._decode_leniently(value)
            if decoded is None:
                return None
            is_strict, values = False, list(self._flatten(decoded))
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
        if spelled is None or bool(profile_id) == bool(device_id):
            return None
        values[self._application], by_profile, by_device = spelled
        key = values[self._key_index] if self._key_index is not None else None
        cells = values[PAIR : self._end]
        cells.insert(1, profile_id or device_id)
        if None in cells:
            cells = [cell or "" for cell in cells]
        if not is_strict:
            self._note_unknown(value, cells, remarks)
        return by_profile if profile_id else by_device, cells, None if key is None else str(key)

    def thorough(
        self,
        value: bytes | msgspec.Raw | None,
        window: TimeWindow,
        remarks: ContractDrift,
        timestamp: int | None = None,
    ) -> Event | Faults:
        """What the fast pass would not take: the event after all, or all that is wrong with it."""
        found = explain(
            value, self._rules, window, layout=self._layout, timestamp=timestamp, remarks=remarks
        )
        if not isinstance(found, Cells):
            return Faults(found)
        texts = found.texts
        names = self._rules.resource.header(found.identity)
        _, by_profile, by_device = self._applications[texts["application_id"]]
        destination = by_profile if found.identity is Identity.PROFILE_ID else by_device
        return destination, [texts.get(name, "") for name in names], found.producer_key

    def _date(self, values: list[Any], timestamp: int) -> None:
        """Give an event that doesn't say when it happened this time."""
        if self._timestamp is not None and values[self._timestamp] in (None, ""):
            values[self._timestamp] = timestamp

    def _decode_leniently(self, value: bytes | msgspec.Raw) -> Any:
        """The value without the fields that nobody knows; None where that isn't allowed or doesn't
        help.
        """
        if self._lenient is None:
            return None
        try:
            # msgspec passes over what it isn't asked for without looking whether it is text at all.
            bytes(value).decode()
            return self._lenient(value)
        except DECODE_FAILURES:
            return None

    def _note_unknown(
        self, value: bytes | msgspec.Raw, cells: list[str], remarks: ContractDrift
    ) -> None:
        event_name = shown_name(cells[self._name]) if self._name is not None else ""
        fields = object_fields(value)
        if not isinstance(fields, FieldFault):
            note_unknown(list(unknown_names(fields, self._layout.tree)), event_name, remarks)

"""The thorough pass: every fault of a record that the fast pass refused.

It reads each field's JSON text separately, so a bad field hides no other fault. It may also find no
fault: the fast pass accepts fewer ways to write a value. Then the values found here are valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from worker.core.counters.counters import DROPPED, ContractDrift
from worker.core.intake.decode import DECODE_FAILURES, decode_key
from worker.core.intake.dedup_key import UnusableKey, joined
from worker.core.intake.faults import (
    UNKNOWN_SHOWN_MAX,
    found,
    shown_name,
    unknown_field,
    wrong_type,
)
from worker.core.intake.fields import check
from worker.core.intake.json_object import (
    UnknownField,
    elements,
    note_unknown,
    object_fields,
    read_object,
    unknown_names,
)
from worker.core.intake.layout import ColumnPlace, Layout, Node
from worker.core.intake.paths import Path, spelled
from worker.core.intake.raw_cell import cell_of, is_same
from worker.core.intake.raw_fields import is_empty_array
from worker.core.intake.rules import IntakeRules, InvalidOptional, TimeWindow, UnknownFields
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity

_NULL = msgspec.Raw(b"null")
_JSON_TYPES = {
    b'"': "string",
    b"{": "object",
    b"[": "array",
    b"t": "boolean",
    b"f": "boolean",
    b"n": "null",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """A valid record: the text of each present column by name, and its producer's key.

    `producer_key` is None where the route reads no key from the value.
    """

    texts: dict[str, str]
    identity: Identity
    producer_key: str | UnusableKey | None


def explain(
    value: bytes | msgspec.Raw | None,
    rules: IntakeRules,
    window: TimeWindow,
    *,
    layout: Layout | None = None,
    timestamp: int | None = None,
    drift: ContractDrift | None = None,
) -> Cells | tuple[FieldFault, ...]:
    """The cells of an event, or all its faults (never empty).

    Args:
        value: the event's JSON.
        rules: what it must be.
        window: the accepted event times.
        layout: of these rules, if the caller has it.
        timestamp: the time of an event that has no time of its own, in Unix seconds.
        drift: counts the fields that differ from the contract.
    """
    layout = layout or Layout.of(rules)
    fields = read_object(value, layout.root.names())
    if isinstance(fields, FieldFault):
        return (fields,)
    validation = _Validation(rules, layout, window, drift if drift is not None else ContractDrift())
    return validation.run(fields, timestamp)


class _Validation:
    """The validation of one event."""

    def __init__(
        self, rules: IntakeRules, layout: Layout, window: TimeWindow, drift: ContractDrift
    ) -> None:
        self._rules = rules
        self._layout = layout
        self._window = window
        self._drift = drift
        self._faults: list[FieldFault] = []
        self._unknown: list[UnknownField] = []
        self._changed: list[tuple[str, str]] = []
        self._texts: dict[str, str] = {}

    def run(
        self, fields: dict[str, msgspec.Raw], timestamp: int | None
    ) -> Cells | tuple[FieldFault, ...]:
        raws: dict[Path, msgspec.Raw] = {}
        self._collect_names(fields, self._layout.root, (), raws)
        self._unknown = list(unknown_names(fields, self._layout.root))
        for place in self._layout.places:
            self._column(place, raws, timestamp)
        if self._rules.unknown_fields is UnknownFields.REJECT:
            self._unknown_fields()
        self._application()
        identity = self._identity()
        self._note_drift()
        if identity is None or self._faults:
            return tuple(self._faults)
        return Cells(self._texts, identity, self._producer_key(raws))

    def _collect_names(
        self,
        fields: Mapping[str, msgspec.Raw],
        node: Node,
        path: Path,
        raws: dict[Path, msgspec.Raw],
    ) -> None:
        """Collect the values of the layout's paths within an object."""
        for name, part in node.parts.items():
            raw = fields.get(name) if isinstance(name, str) else None
            if raw is not None:
                self._collect(raw, part, (*path, name), raws)

    def _collect(
        self, raw: msgspec.Raw, node: Node, path: Path, raws: dict[Path, msgspec.Raw]
    ) -> None:
        """Collect a value, and the values of the layout's paths within it."""
        if node.index is not None:
            raws[path] = raw
        if not node.parts or bytes(raw) == b"null":
            return
        if node.is_array:
            count = max(step for step in node.parts if isinstance(step, int)) + 1
            found = elements(raw, count)
            if found is None:
                self._not_a_container(raw, node, path)
            for index, element in enumerate(found or ()):
                if index in node.parts:
                    self._collect(element, node.parts[index], (*path, index), raws)
            return
        fields = object_fields(_object_in(raw) if node.index is not None else raw)
        if not isinstance(fields, FieldFault):
            self._collect_names(fields, node, path, raws)
        elif node.index is None and not is_empty_array(bytes(raw).decode(errors="replace")):
            # The fault of a whole that is a column itself is found with the column.
            self._not_a_container(raw, node, path)

    def _not_a_container(self, raw: msgspec.Raw, node: Node, path: Path) -> None:
        """Note a value that is no object or array, although columns are read from within it."""
        columns = list(self._columns_below(node))
        if columns and all(map(self._may_be_dropped, columns)):
            self._changed.append((spelled(path), DROPPED))
            return
        kind = Kind.ARRAY if node.is_array else Kind.JSON_OBJECT
        column = Column(spelled(path), kind, "", "")
        self._fault(column, wrong_type(column, bytes(raw).decode(errors="replace")), raw)

    def _columns_below(self, node: Node) -> Iterator[Column]:
        """The columns that are read from within a value."""
        for part in node.parts.values():
            # Behind the columns are the fields of the event's key.
            if part.index is not None and part.index < len(self._layout.places):
                yield self._layout.places[part.index].column
            yield from self._columns_below(part)

    def _column(
        self, place: ColumnPlace, raws: Mapping[Path, msgspec.Raw], timestamp: int | None
    ) -> None:
        column = place.column
        if place.path is None:
            self._constant(place, raws)
            return
        raw = raws.get(place.path)
        text = cell_of(place, raw, self._window)
        if text == "" and column.kind is Kind.TIMESTAMP and timestamp is not None:
            text = check(place.shown, timestamp, self._window)
        if isinstance(text, FieldFault):
            if self._may_be_dropped(column):
                self._changed.append((place.shown.name, DROPPED))
            else:
                self._fault(place.shown, text, raw)
        elif text:
            self._texts[column.name] = text
        elif column.required:
            expected = place.expected
            self._faults.append(
                FieldFault(Reason.MISSING, place.shown.name, f"required, {expected}", expected)
            )

    def _may_be_dropped(self, column: Column) -> bool:
        """Whether the event is delivered without an invalid value of this column.

        The identity is never dropped: the event would belong to no user, or to another user.
        """
        is_optional = not column.required and column not in IDENTITY_COLUMNS.values()
        return is_optional and self._rules.invalid_optional is InvalidOptional.DROP

    def _constant(self, place: ColumnPlace, raws: Mapping[Path, msgspec.Raw]) -> None:
        """A constant, which a record may repeat with the same value."""
        column = place.column
        text = self._texts[column.name] = self._rules.constants[column.name]
        raw = raws.get((column.name,)) if column in self._layout.constants else None
        repeated = cell_of(place, raw, self._window)
        if repeated == "" or is_same(column, repeated, text):
            return
        shown = found(bytes(raw or b"").decode(errors="replace"))
        message = f"expected {text}, the constant of the route, or no such field, found {shown}"
        self._faults.append(FieldFault(Reason.OUT_OF_RANGE, column.name, message, text, shown))

    def _fault(self, column: Column, fault: FieldFault, raw: msgspec.Raw | None) -> None:
        self._faults.append(fault)
        if fault.reason is Reason.WRONG_TYPE and raw is not None:
            self._changed.append((column.name, _JSON_TYPES.get(bytes(raw)[:1], "number")))

    def _unknown_fields(self) -> None:
        of_what = self._rules.resource.name
        shown, others = self._unknown[:UNKNOWN_SHOWN_MAX], len(self._unknown) - UNKNOWN_SHOWN_MAX
        self._faults += [unknown_field(name, known, of_what, path) for path, name, known in shown]
        if others > 0:
            self._faults.append(
                FieldFault(
                    Reason.UNKNOWN_FIELD,
                    "",
                    f"and {others} more fields that are not parameters of {of_what}",
                )
            )

    def _application(self) -> None:
        application = self._texts.get("application_id")
        if application is None or int(application) in self._rules.applications:
            return
        message = f"no key is configured for application {application}"
        known = ", ".join(map(str, sorted(self._rules.applications)))
        fault = FieldFault(
            Reason.UNKNOWN_APPLICATION, "application_id", message, f"one of {known}", application
        )
        self._faults.append(fault)

    def _identity(self) -> Identity | None:
        """The identity of the event; None, with a fault added, unless there is exactly one."""
        pair = self._layout.places[: len(IDENTITY_COLUMNS)]
        present = [identity for identity in IDENTITY_COLUMNS if identity.value in self._texts]
        if len(present) == 1:
            return present[0]
        names = [place.shown.name for place in pair]
        expected = f"exactly one of {names[0]} and {names[1]}"
        if present:
            message = "exclude each other: send exactly one of them"
            self._faults.append(
                FieldFault(Reason.BOTH_IDENTITIES, " and ".join(names), message, expected)
            )
        elif not any(fault.field in names for fault in self._faults):
            self._faults.append(
                FieldFault(Reason.MISSING, names[0], f"required: send {expected}", expected)
            )
        return None

    def _note_drift(self) -> None:
        if not (self._unknown or self._changed):
            return
        event_name = shown_name(self._texts.get(self._rules.resource.name_column, ""))
        note_unknown(self._unknown, event_name, self._drift)
        for name, change in self._changed:
            self._drift.drift(event_name, name, change)

    def _producer_key(self, raws: Mapping[Path, msgspec.Raw]) -> str | UnusableKey | None:
        if not self._layout.keys:
            return None
        texts: list[str] = []
        for key in self._layout.keys:
            try:
                value = decode_key(raws.get(key, _NULL))
            except DECODE_FAILURES:
                return UnusableKey.WRONG_TYPE
            texts.append("" if value is None else str(value))
        return joined(texts) or UnusableKey.MISSING


def _object_in(raw: msgspec.Raw) -> msgspec.Raw | bytes:
    """The JSON of an object that may be given as text."""
    if bytes(raw)[:1] != b'"':
        return raw
    try:
        return msgspec.json.decode(raw, type=str).encode()
    except (msgspec.DecodeError, UnicodeError):
        return raw

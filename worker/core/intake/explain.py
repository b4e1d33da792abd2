"""The thorough pass: every fault of a record that the fast pass refused, each with reason, field
and message.

It takes each field's JSON text by itself, so one bad field hides no other. It may also find none:
the fast pass is stricter in how a value may be written, and then the values found here are as good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from worker.core.counters.counters import OTHER, UNKNOWN, ContractDrift
from worker.core.intake.decode import DECODE_FAILURES
from worker.core.intake.fault_texts import shown_name, wrong_type
from worker.core.intake.fields import check
from worker.core.intake.nearest import nearest
from worker.core.intake.places import Layout, Place, Tree
from worker.core.intake.rules import IntakeRules, Path, UnknownFields
from worker.core.intake.time_window import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import RAW_KINDS, Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

# A record may hold as many fields as fit its bytes; a dead letter's header may not. Other faults
# are bounded by the columns.
UNKNOWN_TOLD_MAX = 50
# Of a larger value not more may be names, white space and unknown fields: a million of them can
# stand in 9 MB.
STUFFING_BYTES_MAX = 256 * 1024
# What no column takes as a value of its own, by its first byte.
_CONTAINERS = {b"[": "an array", b"{": "an object"}

_JSON_TYPES = {
    b'"': "string",
    b"{": "object",
    b"[": "array",
    b"t": "boolean",
    b"f": "boolean",
    b"n": "null",
}
# A field that nobody asked for: where it stands, its name, and the names that are known there.
Unknown = tuple[Path, str, Iterable[str]]
_OBJECT = "one JSON object"


@dataclass(frozen=True, slots=True)
class Cells:
    """A record that is in order after all: the text of each present column by name, and its
    producer's key.
    """

    texts: dict[str, str]
    identity: Identity
    producer_key: str | None


def explain(
    value: bytes | msgspec.Raw | None,
    rules: IntakeRules,
    window: TimeWindow,
    *,
    layout: Layout | None = None,
    timestamp: int | None = None,
    remarks: ContractDrift | None = None,
) -> Cells | tuple[FieldFault, ...]:
    """Either the cells of an event, or all that is wrong with it (never empty).

    Args:
        value: the event's JSON.
        rules: what it must be.
        window: the event times that are taken.
        layout: of these rules, if it is at hand.
        timestamp: the time of an event that doesn't say it, in Unix seconds.
        remarks: where fields that differ from the contract are noted.
    """
    layout = layout or Layout.of(rules)
    fields = read_object(value, tuple(layout.tree))
    if isinstance(fields, FieldFault):
        return (fields,)
    judgement = _Judgement(
        rules, layout, window, remarks if remarks is not None else ContractDrift()
    )
    return judgement.judge(fields, timestamp)


def read_object(
    value: bytes | msgspec.Raw | None, known: tuple[str, ...]
) -> dict[str, msgspec.Raw] | FieldFault:
    """As `object_fields`, of an object that may hold fields beside the known ones, but not stuffed
    with them.
    """
    return _stuffed(value, known) or object_fields(value)


def object_fields(value: bytes | msgspec.Raw | None) -> dict[str, msgspec.Raw] | FieldFault:
    """The fields of a JSON object, each as its own text."""
    if not value:
        return FieldFault(
            Reason.EMPTY_VALUE, "", "the record has no value; send one JSON object", _OBJECT
        )
    try:
        return _fields.decode(value)
    except msgspec.ValidationError as error:
        return FieldFault(Reason.NOT_AN_OBJECT, "", f"expected {_OBJECT}: {error}", _OBJECT)
    except UnicodeDecodeError as error:
        return FieldFault(
            Reason.NOT_JSON, "", f"the value is not UTF-8 at byte {error.start} of a name", _OBJECT
        )
    except RecursionError:
        return FieldFault(Reason.NOT_JSON, "", "the value is nested too deeply", _OBJECT)
    except msgspec.DecodeError as error:
        return FieldFault(Reason.NOT_JSON, "", f"expected {_OBJECT}: {error}", _OBJECT)


def _stuffed(value: bytes | msgspec.Raw | None, known: tuple[str, ...]) -> FieldFault | None:
    """A large value of which too much belongs to no field that is known, without a look at what it
    is.
    """
    size = memoryview(value).nbytes if value else 0
    if value is None or size <= STUFFING_BYTES_MAX:
        return None
    try:
        fields = _known_fields(known).decode(value)
    except DECODE_FAILURES:
        # What is wrong with it is said where all its fields are read.
        return None
    stuffing = size - sum([memoryview(raw).nbytes for raw in msgspec.structs.astuple(fields)])
    if stuffing <= STUFFING_BYTES_MAX:
        return None
    return FieldFault(Reason.TOO_LARGE, "", f"{stuffing} bytes of it belong to no parameter")


@lru_cache(maxsize=64)
def _known_fields(names: tuple[str, ...]) -> msgspec.json.Decoder[msgspec.Struct]:
    """Decodes these fields, raw, and passes over all others: for those a dictionary would take 0.3
    µs each.
    """
    generic = {f"field_{index}": name for index, name in enumerate(names)}
    fields = [(one, msgspec.Raw, msgspec.Raw()) for one in generic]
    return msgspec.json.Decoder(msgspec.defstruct("Known", fields, rename=generic, gc=False))


def unknown_field(name: str, known: Iterable[str], of_what: str, path: Path = ()) -> FieldFault:
    """A field that nobody asked for, with the nearest name that is known in the same place."""
    near = nearest(name, known)
    expected = ".".join((*path, near)) if near else ""
    hint = f"; did you mean {expected}?" if near else ""
    return FieldFault(
        Reason.UNKNOWN_FIELD,
        shown_name(".".join((*path, name))),
        f"not a parameter of {of_what}{hint}",
        expected,
    )


def unknown_names(
    fields: Mapping[str, msgspec.Raw], branch: Tree, path: Path = ()
) -> Iterator[Unknown]:
    """The fields that a tree doesn't name: where, called what, and what it names in the
    same place.
    """
    for name, raw in fields.items():
        inner = branch.get(name)
        if inner is None:
            yield path, name, branch
        elif not isinstance(inner, int) and bytes(raw)[:1] == b"{":
            deeper = object_fields(raw)
            if not isinstance(deeper, FieldFault):
                yield from unknown_names(deeper, inner, (*path, name))


def note_unknown(unknown: Sequence[Unknown], event_name: str, remarks: ContractDrift) -> None:
    """Take note of an event's unknown fields; of very many, the rest is counted together."""
    for path, name, _ in unknown[:UNKNOWN_TOLD_MAX]:
        remarks.drift(event_name, shown_name(".".join((*path, name))), UNKNOWN)
    others = len(unknown) - UNKNOWN_TOLD_MAX
    if others > 0:
        remarks.drift(event_name, OTHER, UNKNOWN, others)


class _Judgement:
    """One event before its judge."""

    def __init__(
        self, rules: IntakeRules, layout: Layout, window: TimeWindow, remarks: ContractDrift
    ) -> None:
        self._rules = rules
        self._layout = layout
        self._window = window
        self._remarks = remarks
        self._faults: list[FieldFault] = []
        self._unknown: list[Unknown] = []
        self._changed: list[tuple[str, str]] = []
        self._texts: dict[str, str] = {}

    def judge(
        self, fields: dict[str, msgspec.Raw], timestamp: int | None
    ) -> Cells | tuple[FieldFault, ...]:
        raws: dict[Path, msgspec.Raw] = {}
        self._collect(fields, self._layout.tree, (), raws)
        self._unknown = list(unknown_names(fields, self._layout.tree))
        for place in self._layout.places:
            self._column(place, raws, timestamp)
        if self._rules.unknown_fields is UnknownFields.REJECT:
            self._unknown_fields()
        self._application()
        identity = self._identity()
        self._remark()
        if identity is None or self._faults:
            return tuple(self._faults)
        return Cells(self._texts, identity, self._producer_key(raws))

    def _collect(
        self,
        fields: Mapping[str, msgspec.Raw],
        branch: Tree,
        path: Path,
        raws: dict[Path, msgspec.Raw],
    ) -> None:
        """Find what the tree names, however deep."""
        for name, inner in branch.items():
            raw, here = fields.get(name), (*path, name)
            if raw is None:
                continue
            if isinstance(inner, int):
                raws[here] = raw
            elif bytes(raw) != b"null":
                deeper = object_fields(raw)
                if isinstance(deeper, FieldFault):
                    column = Column(".".join(here), Kind.JSON_OBJECT, "", "")
                    self._fault(
                        column, wrong_type(column, bytes(raw).decode(errors="replace")), raw
                    )
                else:
                    self._collect(deeper, inner, here, raws)

    def _column(
        self, place: Place, raws: Mapping[Path, msgspec.Raw], timestamp: int | None
    ) -> None:
        column = place.column
        if place.path is None:
            self._texts[column.name] = self._rules.constants[column.name]
            return
        raw = raws.get(place.path)
        text = _cell(place.shown, raw, self._window)
        if text == "" and column.kind is Kind.TIMESTAMP and timestamp is not None:
            text = check(place.shown, timestamp, self._window)
        if isinstance(text, FieldFault):
            self._fault(place.shown, text, raw)
        elif text:
            self._texts[column.name] = text
        elif column.required:
            expected = column.kind.value
            self._faults.append(
                FieldFault(Reason.MISSING, place.shown.name, f"required, {expected}", expected)
            )

    def _fault(self, column: Column, fault: FieldFault, raw: msgspec.Raw | None) -> None:
        self._faults.append(fault)
        if fault.reason is Reason.WRONG_TYPE and raw is not None:
            self._changed.append((column.name, _JSON_TYPES.get(bytes(raw)[:1], "number")))

    def _unknown_fields(self) -> None:
        of_what = self._rules.resource.name
        told, others = self._unknown[:UNKNOWN_TOLD_MAX], len(self._unknown) - UNKNOWN_TOLD_MAX
        self._faults += [unknown_field(name, known, of_what, path) for path, name, known in told]
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
        """Which of the two identities the event has; None, with a fault added, where that isn't
        exactly one.
        """
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

    def _remark(self) -> None:
        if not (self._unknown or self._changed):
            return
        event_name = shown_name(self._texts.get(self._rules.resource.name_column, ""))
        note_unknown(self._unknown, event_name, self._remarks)
        for name, change in self._changed:
            self._remarks.drift(event_name, name, change)

    def _producer_key(self, raws: Mapping[Path, msgspec.Raw]) -> str | None:
        raw = raws.get(self._layout.key) if self._layout.key is not None else None
        if raw is None:
            return None
        try:
            value = msgspec.json.decode(raw, type=int | str | None)
        except DECODE_FAILURES:
            return None
        return None if value is None else str(value)


def _cell(column: Column, raw: msgspec.Raw | None, window: TimeWindow) -> str | FieldFault:
    """The cell of one field; empty where the field is absent, null or an empty string."""
    if raw is None:
        return ""
    if column.kind in RAW_KINDS:
        return check(column, raw, window)
    container = _CONTAINERS.get(memoryview(raw)[:1].tobytes())
    if container is not None:
        # Not decoded: 2 million empty arrays in 9 MB take most of a second.
        expected = column.kind.value
        return FieldFault(
            Reason.WRONG_TYPE,
            column.name,
            f"expected {expected}, found {container}",
            expected,
            container,
        )
    try:
        value = msgspec.json.decode(raw)
    except DECODE_FAILURES as error:
        expected = column.kind.value
        return FieldFault(Reason.WRONG_TYPE, column.name, f"expected {expected}: {error}", expected)
    return "" if value is None or value == "" else check(column, value, window)

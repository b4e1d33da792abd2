"""The envelope of an event, and the result that all wrappings have in common.

Unwrapping doesn't validate the event inside. The faults of the wrapping are reported together with
those of the event, so that a producer sees all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from worker.core.intake.faults import UNKNOWN_SHOWN_MAX, found, unknown_field
from worker.core.intake.framing import text_inside
from worker.core.intake.json_object import read_object
from worker.core.intake.rules import EnvelopeNames, UnknownFields
from worker.core.model.fault import FieldFault, Reason


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """The content of a wrapping.

    Attributes:
        data: the event's JSON; None where it can't be read, and then the faults say why.
        faults: the faults of the wrapping.
        resource: the resource's name, where the wrapping gives it.
        identifier: the producer's id of the event, where the wrapping gives it.
        timestamp: the event's time in Unix seconds, where the wrapping gives it.
        is_dated_by_record: the time is the record's. Two records of one event have two times.
    """

    data: bytes | msgspec.Raw | None
    faults: tuple[FieldFault, ...] = ()
    resource: str | None = None
    identifier: bytes | None = None
    timestamp: int | None = None
    is_dated_by_record: bool = False


class EnvelopeOpener:
    """Opens the envelopes of one route: `{"type": "revenue", "data": {…}}`, under names of its own.

    The data may be JSON text, as a database's column has it.

    Args:
        names: the names of the two fields, and of types.
        resources: the names of the resources, which are types too.
        unknown_fields: what to do with other fields than the two.
    """

    def __init__(
        self, names: EnvelopeNames, resources: Iterable[str], unknown_fields: UnknownFields
    ) -> None:
        self._known = (names.type_field, names.data_field)
        self._resources = {name: name for name in resources} | dict(names.types)
        self._unknown_fields = unknown_fields
        envelope = msgspec.defstruct(
            "Envelope",
            [("type", str), ("data", msgspec.Raw)],
            rename={"type": names.type_field, "data": names.data_field},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode: Callable[[bytes | msgspec.Raw], Any] = msgspec.json.Decoder(envelope).decode

    def open(self, value: bytes | msgspec.Raw | None) -> Unwrapped:
        """The event in an envelope."""
        try:
            envelope = self._decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._explain(value)
        resource = self._resources.get(envelope.type)
        if resource is None:
            return self._explain(value)
        return Unwrapped(text_inside(envelope.data), resource=resource)

    def _explain(self, value: bytes | msgspec.Raw | None) -> Unwrapped:
        type_field, data_field = self._known
        fields = read_object(value, self._known)
        if isinstance(fields, FieldFault):
            return Unwrapped(None, (fields,))
        faults: list[FieldFault] = []
        name = text_of(fields.get(type_field), type_field, faults)
        resource = self._resources.get(name) if name is not None else None
        if name is not None and resource is None:
            shown, expected = found(name), f"one of {', '.join(self._resources)}"
            message = (
                f"no resource has the name {shown}; expected {expected}. In the route, name its "
                "resource in envelope.types, or skip such records with select"
            )
            faults.append(FieldFault(Reason.UNKNOWN_ROUTE, type_field, message, expected, shown))
        data = fields.get(data_field)
        if data is None:
            message = "required, the event as a JSON object"
            faults.append(FieldFault(Reason.MISSING, data_field, message, "a JSON object"))
        if self._unknown_fields is UnknownFields.REJECT:
            unknown = (name for name in fields if name not in self._known)
            faults += [
                unknown_field(name, self._known, "the envelope")
                for name in islice(unknown, UNKNOWN_SHOWN_MAX)
            ]
        if resource is None:
            return Unwrapped(None, tuple(faults))
        return Unwrapped(None if data is None else text_inside(data), tuple(faults), resource)


def text_of(raw: msgspec.Raw | None, name: str, faults: list[FieldFault]) -> str | None:
    """A required text; None, with a fault added, if it is empty or not a text."""
    try:
        text = msgspec.json.decode(raw, type=str | None) if raw is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        shown = found(bytes(raw or b"").decode(errors="replace"))
        faults.append(
            FieldFault(
                Reason.WRONG_TYPE, name, f"expected a string, found {shown}", "a string", shown
            )
        )
        return None
    if not text:
        faults.append(FieldFault(Reason.MISSING, name, "required, a string", "a string"))
        return None
    return text


def header_texts(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """Headers that are not empty, by lower-case name; of several with one name the last."""
    return {name.lower(): value for name, value in headers if value}

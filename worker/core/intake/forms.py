"""The envelope of an event, and what all wrappings have in common.

Unwrapping doesn't validate the event inside. The faults of the wrapping are reported together with
those of the event, so that a producer sees all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from worker.core.intake.faults import UNKNOWN_SHOWN_MAX, found, unknown_field
from worker.core.intake.json_object import read_object
from worker.core.intake.rules import UnknownFields
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
    """

    data: bytes | msgspec.Raw | None
    faults: tuple[FieldFault, ...] = ()
    resource: str | None = None
    identifier: bytes | None = None
    timestamp: int | None = None


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """`{"type": "revenue", "data": {…}}`, for the fast pass."""

    type: str
    data: msgspec.Raw


_decode = msgspec.json.Decoder(Envelope).decode
_ENVELOPE = ("type", "data")


def open_envelope(
    value: bytes | None, resources: Mapping[str, object], unknown_fields: UnknownFields
) -> Unwrapped:
    """The event in an envelope.

    Args:
        value: the record's value.
        resources: the resources that `type` may name.
        unknown_fields: what to do with other fields than the two.
    """
    try:
        envelope = _decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _explain_envelope(value, resources, unknown_fields)
    if envelope.type in resources:
        return Unwrapped(envelope.data, resource=envelope.type)
    return _explain_envelope(value, resources, unknown_fields)


def _explain_envelope(
    value: bytes | None, resources: Mapping[str, object], unknown_fields: UnknownFields
) -> Unwrapped:
    fields = read_object(value, _ENVELOPE)
    if isinstance(fields, FieldFault):
        return Unwrapped(None, (fields,))
    faults: list[FieldFault] = []
    resource = text_of(fields.get("type"), "type", faults)
    expected = f"one of {', '.join(resources)}"
    if resource is not None and resource not in resources:
        shown = found(resource)
        message = f"no resource has the name {shown}; expected {expected}"
        faults.append(FieldFault(Reason.UNKNOWN_ROUTE, "type", message, expected, shown))
    data = fields.get("data")
    if data is None:
        faults.append(
            FieldFault(
                Reason.MISSING, "data", "required, the event as a JSON object", "a JSON object"
            )
        )
    if unknown_fields is UnknownFields.REJECT:
        unknown = (name for name in fields if name not in _ENVELOPE)
        faults += [
            unknown_field(name, _ENVELOPE, "the envelope")
            for name in islice(unknown, UNKNOWN_SHOWN_MAX)
        ]
    is_known = resource in resources
    return Unwrapped(data if is_known else None, tuple(faults), resource if is_known else None)


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

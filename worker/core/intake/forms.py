"""How an event is wrapped in its record: not at all, in an envelope, or as a CloudEvent.

Opening takes the wrapping off and judges nothing of what is inside; its own faults stand beside
those of the event, so that a producer hears of all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from worker.core.intake.explain import UNKNOWN_TOLD_MAX, read_object, unknown_field
from worker.core.intake.fault_texts import found
from worker.core.intake.rules import UnknownFields
from worker.core.model.fault import FieldFault, Reason


@dataclass(frozen=True, slots=True)
class Opened:
    """What was inside.

    Attributes:
        data: the event's JSON; None where it can't be had, and then the faults say why.
        faults: what is wrong with the wrapping.
        resource: the resource's name, where the wrapping says it.
        identifier: the producer's name for the event, where the wrapping has one.
        timestamp: the event's time in Unix seconds, where the wrapping says it.
    """

    data: bytes | msgspec.Raw | None
    faults: tuple[FieldFault, ...] = ()
    resource: str | None = None
    identifier: bytes | None = None
    timestamp: int | None = None


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """`{"type": "revenue", "data": {…}}`, the fast way."""

    type: str
    data: msgspec.Raw


_decode = msgspec.json.Decoder(Envelope).decode
_ENVELOPE = ("type", "data")


def open_envelope(
    value: bytes | None, resources: Mapping[str, object], unknown_fields: UnknownFields
) -> Opened:
    """Take an envelope off.

    Args:
        value: the record's value.
        resources: what `type` may be.
        unknown_fields: what becomes of fields beside the two.
    """
    try:
        envelope = _decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _explain_envelope(value, resources, unknown_fields)
    if envelope.type in resources:
        return Opened(envelope.data, resource=envelope.type)
    return _explain_envelope(value, resources, unknown_fields)


def _explain_envelope(
    value: bytes | None, resources: Mapping[str, object], unknown_fields: UnknownFields
) -> Opened:
    fields = read_object(value, _ENVELOPE)
    if isinstance(fields, FieldFault):
        return Opened(None, (fields,))
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
            for name in islice(unknown, UNKNOWN_TOLD_MAX)
        ]
    is_known = resource in resources
    return Opened(data if is_known else None, tuple(faults), resource if is_known else None)


def text_of(raw: msgspec.Raw | None, name: str, faults: list[FieldFault]) -> str | None:
    """A required text; None, with a fault added, where it is none or empty."""
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
    """Headers by lower-case name, the last of a name counts; without empty ones."""
    return {name.lower(): value for name, value in headers if value}

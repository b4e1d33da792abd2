"""The thorough pass: every fault of a record that the fast pass refused, each with reason, field and message.

It takes each field's JSON text by itself, so one bad field hides no other. It may also find none: the fast pass is stricter in
how a value may be written, and then the values found here are as good.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import msgspec

from worker.intake.decode import DECODE_FAILURES, column_order
from worker.intake.fields import TimeWindow, check, found
from worker.intake.rules import IntakeRules, UnknownFields
from worker.model.fault import FieldFault, Reason
from worker.model.resource import IDENTITY_COLUMNS, Column, Identity, Kind

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Cells:
    """A record that is in order after all: the text of each present column by name, and its producer's key."""

    texts: dict[str, str]
    identity: Identity
    producer_key: str | None


def explain(value: bytes | None, rules: IntakeRules, window: TimeWindow) -> Cells | tuple[FieldFault, ...]:
    """Either the cells of a record, or all that is wrong with it (never empty)."""
    if not value:
        return (FieldFault(Reason.EMPTY_VALUE, "", "the record has no value; send one JSON object"),)
    try:
        fields = _fields.decode(value)
    except msgspec.ValidationError as error:
        return (FieldFault(Reason.NOT_AN_OBJECT, "", f"expected one JSON object: {error}"),)
    except UnicodeDecodeError as error:
        return (FieldFault(Reason.NOT_JSON, "", f"the value is not UTF-8 at byte {error.start} of a name"),)
    except RecursionError:
        return (FieldFault(Reason.NOT_JSON, "", "the value is nested too deeply"),)
    except msgspec.DecodeError as error:
        return (FieldFault(Reason.NOT_JSON, "", f"expected one JSON object: {error}"),)
    return _judge(fields, rules, window)


def _judge(fields: dict[str, msgspec.Raw], rules: IntakeRules, window: TimeWindow) -> Cells | tuple[FieldFault, ...]:
    columns = column_order(rules)
    known = [column.name for column in columns]
    faults: list[FieldFault] = []
    texts: dict[str, str] = {}
    for column in columns:
        text = _cell(column, fields.get(column.name), window)
        if isinstance(text, FieldFault):
            faults.append(text)
        elif text:
            texts[column.name] = text
        elif column.required:
            faults.append(FieldFault(Reason.MISSING, column.name, f"required, {column.kind.value}"))
    faults += _unknown_fields(fields, known, rules)
    faults += _unknown_application(texts, rules)
    identity = _identity(fields, texts, faults)
    if identity is None or faults:
        return tuple(faults)
    return Cells(texts, identity, _producer_key(fields, rules))


def _cell(column: Column, raw: msgspec.Raw | None, window: TimeWindow) -> str | FieldFault:
    """The cell of one field; empty where the field is absent, null or an empty string."""
    if raw is None:
        return ""
    if column.kind is Kind.JSON_OBJECT:
        return check(column, raw, window)
    try:
        value = msgspec.json.decode(raw)
    except DECODE_FAILURES as error:
        return FieldFault(Reason.WRONG_TYPE, column.name, f"expected {column.kind.value}: {error}")
    return "" if value is None or value == "" else check(column, value, window)


def _unknown_fields(fields: dict[str, msgspec.Raw], known: list[str], rules: IntakeRules) -> list[FieldFault]:
    if rules.unknown_fields is UnknownFields.IGNORE:
        return []
    faults = []
    for name in fields:
        if name not in known and name != rules.key_field:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(
                FieldFault(Reason.UNKNOWN_FIELD, found(name)[1:-1], f"not a parameter of {rules.resource.name}{hint}")
            )
    return faults


def _unknown_application(texts: dict[str, str], rules: IntakeRules) -> list[FieldFault]:
    application = texts.get("application_id")
    if application is None or int(application) in rules.applications:
        return []
    message = f"no key is configured for application {application}"
    return [FieldFault(Reason.UNKNOWN_APPLICATION, "application_id", message)]


def _identity(fields: dict[str, msgspec.Raw], texts: dict[str, str], faults: list[FieldFault]) -> Identity | None:
    """Which of the two identities the record has; None, with a fault added, where that isn't exactly one."""
    present = [identity for identity in IDENTITY_COLUMNS if identity.value in texts]
    if len(present) == 1:
        return present[0]
    if present:
        message = "exclude each other: send exactly one of them"
        faults.append(FieldFault(Reason.BOTH_IDENTITIES, " and ".join(present), message))
    elif not any(fault.field in IDENTITY_COLUMNS for fault in faults):
        message = "required: send exactly one of profile_id and appmetrica_device_id"
        faults.append(FieldFault(Reason.MISSING, Identity.PROFILE_ID.value, message))
    return None


def _producer_key(fields: dict[str, msgspec.Raw], rules: IntakeRules) -> str | None:
    raw = fields.get(rules.key_field) if rules.key_field is not None else None
    if raw is None:
        return None
    try:
        value = msgspec.json.decode(raw, type=int | str | None)
    except DECODE_FAILURES:
        return None
    return None if value is None else str(value)

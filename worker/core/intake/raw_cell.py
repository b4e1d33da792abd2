"""The cell of a field, from the field's own JSON text: the thorough pass reads each separately.

A number is never decoded: a float would change it.
"""

from __future__ import annotations

import msgspec

from worker.core.intake.decode import DECODE_FAILURES
from worker.core.intake.device_id import inexact_device_id
from worker.core.intake.event_time import advice_on_text
from worker.core.intake.faults import wrong_number
from worker.core.intake.fields import DIGITS_MAX, check
from worker.core.intake.layout import ColumnPlace
from worker.core.intake.raw_fields import integral
from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import RAW_KINDS, Column, Kind

# What no column accepts as a value, by its first byte.
_CONTAINERS = {b"[": "an array", b"{": "an object"}
_NUMBER_STARTS = frozenset(b"-0123456789"[index : index + 1] for index in range(11))
_AS_STRING = "send it as a string"
_scalar = msgspec.json.Decoder()
_INTEGERS = frozenset({Kind.INTEGER, Kind.DEVICE_ID, Kind.TIMESTAMP})


def cell_of(place: ColumnPlace, raw: msgspec.Raw | None, window: TimeWindow) -> str | FieldFault:
    """The cell of a field; empty where the field is absent, null or an empty string."""
    if raw is None:
        return ""
    column = place.shown
    if place.is_raw:
        return place.check(column, raw, window)
    start = memoryview(raw)[:1].tobytes()
    container = _CONTAINERS.get(start)
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
    if start in _NUMBER_STARTS:
        return _number_cell(column, bytes(raw).decode(), window)
    try:
        value = _scalar.decode(raw)
    except DECODE_FAILURES as error:
        expected = column.kind.value
        return FieldFault(Reason.WRONG_TYPE, column.name, f"expected {expected}: {error}", expected)
    return "" if value is None or value == "" else place.check(column, value, window)


def _number_cell(column: Column, text: str, window: TimeWindow) -> str | FieldFault:
    """The cell of a JSON number, from its own text: no float changes it on the way."""
    is_whole = text.lstrip("-").isdigit()
    if column.kind is Kind.STRING:
        # 10.0 may mean the text "10" or "10.0".
        return (
            ("0" if text == "-0" else text) if is_whole else wrong_number(column, text, _AS_STRING)
        )
    number = None
    if column.kind in _INTEGERS:
        is_short = len(text) <= DIGITS_MAX
        number = int(text) if is_whole and is_short else integral(text)
    if number is None:
        advice = advice_on_text(text) if column.kind is Kind.TIMESTAMP else ""
        return wrong_number(column, text, advice)
    if column.kind is Kind.DEVICE_ID and not is_whole:
        return inexact_device_id(column, number, text) or check(column, number, window)
    return check(column, number, window)


def is_same(column: Column, repeated: str | FieldFault, text: str) -> bool:
    """Whether a cell has the value of a constant; two JSON texts may be one value."""
    if isinstance(repeated, FieldFault) or column.kind not in RAW_KINDS:
        return repeated == text
    try:
        return bool(msgspec.json.decode(repeated) == msgspec.json.decode(text))
    except DECODE_FAILURES:
        return False

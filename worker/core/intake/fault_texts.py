"""How a fault is worded: what was expected and what was found, shortened and safe to print."""

from __future__ import annotations

from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column

FOUND_CHARACTERS_MAX = 40
# Beyond it ascii() would spend its time on text that nobody is shown.
_LOOKED_AT_MAX = 4 * FOUND_CHARACTERS_MAX


def found(value: object) -> str:
    """A value as it may appear in a message: shortened, and safe to print on one line."""
    text = ascii(value[:_LOOKED_AT_MAX] if isinstance(value, str) else value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[: FOUND_CHARACTERS_MAX - 3] + "..."


def shown_name(name: str) -> str:
    """A producer's name for something, shortened and safe, without quotes."""
    return found(name)[1:-1]


def wrong_type(column: Column, value: object) -> FieldFault:
    """The value isn't of the column's kind at all."""
    return fault(Reason.WRONG_TYPE, column, column.kind.value, value)


def out_of_range(column: Column, expected: str, value: object) -> FieldFault:
    """The value is of the right kind, and not one that is taken."""
    return fault(Reason.OUT_OF_RANGE, column, expected, value)


def fault(reason: Reason, column: Column, expected: str, value: object) -> FieldFault:
    """A fault that says what was expected and what was found."""
    shown = found(value)
    return FieldFault(reason, column.name, f"expected {expected}, found {shown}", expected, shown)

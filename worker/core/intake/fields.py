"""One rule per kind of column: a JSON value becomes the cell's text, or a fault.

Both passes of the intake apply these rules, so they can't disagree on what a value means.
Identifiers, times and decimals never pass through a float: it would change numbers above 2^53.

The rules of `RAW_KINDS`, which take a field's own JSON, are in `raw_fields`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from worker.core.intake.device_id import advice
from worker.core.intake.event_time import advice_on_text, in_window
from worker.core.intake.faults import advised, out_of_range, wrong_type
from worker.core.intake.raw_fields import array_text, attributes, decimal, object_text
from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault
from worker.core.post_api.column import Column, Kind

Check = Callable[[Column, object, TimeWindow], str | FieldFault]

# 20 digits hold every unsigned 64-bit integer; a longer text isn't worth converting (and int()
# refuses 4,300 digits).
DIGITS_MAX = 20
# No IPv6 address is longer: eight groups, the last two as IPv4. The standard library parses texts
# of any length.
ADDRESS_CHARACTERS_MAX = 45
# Most addresses, at a tenth of the standard library's cost; it judges what doesn't match. With at
# most seven colons no text of this form has too many groups.
_GROUP = "[0-9a-fA-F]{1,4}"
_USUAL_IPV6 = re.compile(
    rf"(?:{_GROUP}:){{7}}{_GROUP}|(?:{_GROUP}(?::{_GROUP})*)?::(?:{_GROUP}(?::{_GROUP})*)?"
)
_USUAL_IPV6_COLONS_MAX = 7
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_USUAL_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")


def check(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    """The CSV cell of a present value, or what is wrong with the value.

    Args:
        column: the column of the value.
        value: the JSON value: str, int, bool, float, list or dict; always `msgspec.Raw` for a
            column of `RAW_KINDS`.
        window: the accepted event times.
    """
    return CHECKS[column.kind](column, value, window)


def _string(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """A text, or an integer as its digits."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else wrong_type(column, value)


def _integer_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    number = _integer(column, value)
    return number if isinstance(number, FieldFault) else str(number)


def _integer(column: Column, value: object) -> int | FieldFault:
    if isinstance(value, str):
        digits = value.removeprefix("-") if column.minimum < 0 else value
        if not (digits.isascii() and digits.isdigit()):
            return wrong_type(column, value)
        number = int(value) if len(value) <= DIGITS_MAX else column.maximum + 1
    elif type(value) is int:
        number = value
    else:
        return wrong_type(column, value)
    if column.minimum <= number <= column.maximum:
        return number
    return out_of_range(column, f"an integer from {column.minimum} to {column.maximum}", value)


def _device_id(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    number = _integer(column, value)
    if isinstance(number, FieldFault):
        hint = advice(value)
        return replace(number, message=f"{number.message}: {hint}") if hint else number
    return str(number)


def _timestamp(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    seconds = _integer(column, value)
    if isinstance(seconds, FieldFault):
        return advised(seconds, advice_on_text(value) if isinstance(value, str) else "")
    return in_window(column, seconds, window)


def _session_type(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    if value in ("foreground", "background"):
        return str(value)
    if not isinstance(value, str):
        return wrong_type(column, value)
    lower = value.strip().lower()
    is_near = lower in ("foreground", "background")
    fault = out_of_range(column, column.kind.value, value)
    return advised(fault, f"case and spaces matter: {lower}" if is_near else "")


def _address(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """An IPv6 address as given; an IPv4 address in the mapped form that the API asks for."""
    if not isinstance(value, str):
        return wrong_type(column, value)
    if len(value) > ADDRESS_CHARACTERS_MAX:
        return out_of_range(column, "an IPv6 or IPv4 address", value)
    if _USUAL_IPV4.fullmatch(value):
        return f"::ffff:{value}"
    if _USUAL_IPV6.fullmatch(value) and value.count(":") <= _USUAL_IPV6_COLONS_MAX:
        return value
    try:
        if ":" not in value:
            return f"::ffff:{IPv4Address(value)}"
        # A zone ("%eth0") has a meaning on one machine only; the API doesn't know zones.
        if "%" not in value:
            IPv6Address(value)
            return value
    except AddressValueError:
        pass
    return out_of_range(column, "an IPv6 or IPv4 address", value)


# A table and not a chain of branches: the fast pass looks up its column's rule once, not once per
# record.
CHECKS: dict[Kind, Check] = {
    Kind.STRING: _string,
    Kind.INTEGER: _integer_text,
    Kind.DEVICE_ID: _device_id,
    Kind.TIMESTAMP: _timestamp,
    Kind.DECIMAL: decimal,
    Kind.JSON_OBJECT: object_text,
    Kind.ATTRIBUTES: attributes,
    Kind.ARRAY: array_text,
    Kind.SESSION_TYPE: _session_type,
    Kind.IPV6: _address,
}

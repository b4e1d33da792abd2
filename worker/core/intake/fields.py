"""One rule per kind of column: a JSON value becomes the cell's text, or a fault that says what is
wrong with it.

Both passes of the intake judge with these rules, so they can't disagree on what a value means.
Identifiers and times never pass through a float: above 2^53 it would change them silently.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from worker.core.intake import raw_fields
from worker.core.intake.fault_texts import out_of_range, wrong_type
from worker.core.intake.time_window import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column, Kind

# 20 digits hold every unsigned 64-bit integer; a longer text isn't worth converting (and int()
# refuses 4,300 digits).
DIGITS_MAX = 20
# As seconds these are the years 5138 and 3,170,843: nobody means that. As milliseconds they span
# 1973 to 5138.
MILLISECONDS_FROM = 10**11
MILLISECONDS_BELOW = 10**14
# No IPv6 address is written longer: eight groups, the last two as IPv4. The standard library takes
# whatever it gets apart.
ADDRESS_CHARACTERS_MAX = 45


def check(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    """The CSV cell of a present value, or what is wrong with it.

    Args:
        column: the column that the value is for.
        value: what the JSON says: str, int, bool, float, list or dict; always `msgspec.Raw` for a
            column of `RAW_KINDS`.
        window: the event times that are taken.
    """
    return CHECKS[column.kind](column, value, window)


def _string(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    return value if isinstance(value, str) else wrong_type(column, value)


def _integer_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    number = _integer(column, value)
    return number if isinstance(number, FieldFault) else str(number)


def _integer(column: Column, value: object) -> int | FieldFault:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()):
            return wrong_type(column, value)
        number = int(value) if len(value) <= DIGITS_MAX else column.maximum + 1
    elif type(value) is int:
        number = value
    else:
        return wrong_type(column, value)
    if column.minimum <= number <= column.maximum:
        return number
    return out_of_range(column, f"an integer from {column.minimum} to {column.maximum}", value)


def _timestamp(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    seconds = _integer(column, value)
    if isinstance(seconds, FieldFault):
        return seconds
    if window.earliest <= seconds <= window.latest:
        return str(seconds)
    if MILLISECONDS_FROM <= seconds < MILLISECONDS_BELOW:
        message = f"{seconds} looks like milliseconds; send Unix time in seconds: {seconds // 1000}"
        return FieldFault(
            Reason.MILLISECONDS, column.name, message, column.kind.value, str(seconds)
        )
    if seconds < window.earliest:
        age = (
            f"{window.earliest - seconds} s older than the oldest accepted time ({window.earliest})"
        )
        return FieldFault(
            Reason.TOO_OLD,
            column.name,
            f"{seconds} is {age}",
            f"at least {window.earliest}",
            str(seconds),
        )
    ahead = f"{seconds - window.latest} s later than the latest accepted time ({window.latest})"
    message = f"{seconds} is {ahead}; send Unix time in seconds"
    return FieldFault(
        Reason.IN_FUTURE, column.name, message, f"at most {window.latest}", str(seconds)
    )


def _session_type(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    if value in ("foreground", "background"):
        return str(value)
    if not isinstance(value, str):
        return wrong_type(column, value)
    return out_of_range(column, column.kind.value, value)


def _address(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """An IPv6 address as given; an IPv4 address in the mapped form that the API asks for."""
    if not isinstance(value, str):
        return wrong_type(column, value)
    if len(value) > ADDRESS_CHARACTERS_MAX:
        return out_of_range(column, "an IPv6 or IPv4 address", value)
    try:
        if ":" not in value:
            return f"::ffff:{IPv4Address(value)}"
        # A zone ("%eth0") means something on one machine only; the API knows no such thing.
        if "%" not in value:
            IPv6Address(value)
            return value
    except AddressValueError:
        pass
    return out_of_range(column, "an IPv6 or IPv4 address", value)


Check = Callable[[Column, object, TimeWindow], str | FieldFault]

# A table and not a chain of branches: the fast pass takes its column's rule from here once, not
# once per record.
CHECKS: dict[Kind, Check] = {
    Kind.STRING: _string,
    Kind.INTEGER: _integer_text,
    Kind.TIMESTAMP: _timestamp,
    Kind.DECIMAL: raw_fields.decimal,
    Kind.JSON_OBJECT: raw_fields.object_text,
    Kind.ATTRIBUTES: raw_fields.attributes,
    Kind.ARRAY: raw_fields.array,
    Kind.SESSION_TYPE: _session_type,
    Kind.IPV6: _address,
}

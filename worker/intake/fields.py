"""One rule per kind of column: a JSON value becomes the cell's text, or a fault that says what is wrong with it.

Both passes of the intake judge with these rules, so they can't disagree on what a value means. Identifiers and times never pass
through a float: above 2^53 it would change them silently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import msgspec

from worker.model.fault import FieldFault, Reason
from worker.model.resource import Column, Kind

# 20 digits hold every unsigned 64-bit integer; a longer text isn't worth converting (and int() refuses 4,300 digits).
DIGITS_MAX = 20
# As seconds these are the years 5138 and 3,170,843: nobody means that. As milliseconds they span 1973 to 5138.
MILLISECONDS_FROM = 10**11
MILLISECONDS_BELOW = 10**14

FOUND_CHARACTERS_MAX = 40

_json_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Which event times are taken, in Unix seconds, both ends inclusive."""

    earliest: int
    latest: int


def found(value: object) -> str:
    """A value as it may appear in a message: shortened, and safe to print on one line."""
    text = ascii(value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[: FOUND_CHARACTERS_MAX - 3] + "..."


def check(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    """The CSV cell of a present value, or what is wrong with it.

    Args:
        column: the column that the value is for.
        value: what the JSON says: str, int, bool, float, list or dict; always `msgspec.Raw` for a JSON object column.
        window: the event times that are taken.
    """
    return CHECKS[column.kind](column, value, window)


def _wrong_type(column: Column, value: object) -> FieldFault:
    return FieldFault(Reason.WRONG_TYPE, column.name, f"expected {column.kind.value}, found {found(value)}")


def _string(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    return value if isinstance(value, str) else _wrong_type(column, value)


def _integer_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    number = _integer(column, value)
    return number if isinstance(number, FieldFault) else str(number)


def _integer(column: Column, value: object) -> int | FieldFault:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()):
            return _wrong_type(column, value)
        number = int(value) if len(value) <= DIGITS_MAX else column.maximum + 1
    elif type(value) is int:
        number = value
    else:
        return _wrong_type(column, value)
    if column.minimum <= number <= column.maximum:
        return number
    bounds = f"from {column.minimum} to {column.maximum}"
    return FieldFault(Reason.OUT_OF_RANGE, column.name, f"expected an integer {bounds}, found {found(value)}")


def _timestamp(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    seconds = _integer(column, value)
    if isinstance(seconds, FieldFault):
        return seconds
    if window.earliest <= seconds <= window.latest:
        return str(seconds)
    if MILLISECONDS_FROM <= seconds < MILLISECONDS_BELOW:
        message = f"{seconds} looks like milliseconds; send Unix time in seconds: {seconds // 1000}"
        return FieldFault(Reason.MILLISECONDS, column.name, message)
    if seconds < window.earliest:
        age = f"{window.earliest - seconds} s older than the oldest event that is taken ({window.earliest})"
        return FieldFault(Reason.TOO_OLD, column.name, f"{seconds} is {age}")
    ahead = f"{seconds - window.latest} s later than the latest event that is taken ({window.latest})"
    return FieldFault(Reason.IN_FUTURE, column.name, f"{seconds} is {ahead}; send Unix time in seconds")


def _object_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """The text of a JSON object, byte for byte: given as an object, or as a string that holds one. Empty for a null."""
    # msgspec has checked the syntax of what it passes on raw, but not that its strings are UTF-8.
    try:
        text = bytes(value).decode() if isinstance(value, msgspec.Raw) else ""
    except UnicodeDecodeError as error:
        return FieldFault(Reason.WRONG_TYPE, column.name, f"not UTF-8 at byte {error.start} of the object")
    if text.startswith("{"):
        return text
    if text == "null":
        return ""
    if not text.startswith('"'):
        return _wrong_type(column, text)
    try:
        inner = msgspec.json.decode(text, type=str)
        if inner:
            _json_object.decode(inner)
    except (msgspec.DecodeError, RecursionError):
        return FieldFault(Reason.WRONG_TYPE, column.name, f"the string does not hold a JSON object, found {found(text)}")
    return inner


def _session_type(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    if value in ("foreground", "background"):
        return str(value)
    if not isinstance(value, str):
        return _wrong_type(column, value)
    return FieldFault(Reason.OUT_OF_RANGE, column.name, f"expected foreground or background, found {found(value)}")


def _address(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """An IPv6 address as given; an IPv4 address in the mapped form that the API asks for."""
    if not isinstance(value, str):
        return _wrong_type(column, value)
    try:
        if ":" not in value:
            return f"::ffff:{IPv4Address(value)}"
        # A zone ("%eth0") means something on one machine only; the API knows no such thing.
        if "%" not in value:
            IPv6Address(value)
            return value
    except AddressValueError:
        pass
    return FieldFault(Reason.OUT_OF_RANGE, column.name, f"expected an IPv6 or IPv4 address, found {found(value)}")


Check = Callable[[Column, object, TimeWindow], str | FieldFault]

# A table and not a chain of branches: the fast pass takes its column's rule from here once, not once per record.
CHECKS: dict[Kind, Check] = {
    Kind.STRING: _string,
    Kind.INTEGER: _integer_text,
    Kind.TIMESTAMP: _timestamp,
    Kind.JSON_OBJECT: _object_text,
    Kind.SESSION_TYPE: _session_type,
    Kind.IPV6: _address,
}

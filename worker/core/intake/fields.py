"""One rule per kind of column: a JSON value becomes the cell's text, or a fault.

Both passes of the intake apply these rules, so they can't disagree on what a value means.
Identifiers, times and decimals never pass through a float: it would change numbers above 2^53.

The rules of `RAW_KINDS` take the field's JSON as `msgspec.Raw`. Its syntax has been checked by
msgspec, but not that its strings are UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import msgspec

from worker.core.intake.device_id import advice
from worker.core.intake.event_time import advice_on_text, in_window
from worker.core.intake.faults import advised, out_of_range, wrong_type
from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import (
    ARRAY_SEPARATORS,
    DECIMAL_CHARACTERS_MAX,
    DECIMAL_WHOLE_DIGITS_MAX,
    Column,
    Kind,
)

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
# ASCII digits only: \d matches those of every script.
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE](?P<exponent>[+-]?[0-9]+))?")
_WITH_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
# Four characters of exponent span far more than a decimal's text may.
_EXPONENT_CHARACTERS_MAX = 4
_JSON_SPACE = " \t\n\r"
_UNUSABLE = (*ARRAY_SEPARATORS, "\n", "\r")

# The fields of a JSON object, and the content of a JSON string.
decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_text = msgspec.json.Decoder(str).decode
_array = msgspec.json.Decoder(list[str])


def check(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    """The CSV cell of a present value, or what is wrong with the value.

    Args:
        column: the column of the value.
        value: the JSON value: str, int, bool, float, list or dict; always `msgspec.Raw` for a
            column of `RAW_KINDS`.
        window: the accepted event times.
    """
    return CHECKS[column.kind](column, value, window)


def is_empty_array(text: str) -> bool:
    """True for `[]`: PHP writes an empty object so."""
    return text.startswith("[") and text.endswith("]") and not text[1:-1].strip(_JSON_SPACE)


def integral(text: str) -> int | None:
    """The integer that a JSON number means, such as 1.0 or 1e3, exactly; None if it isn't one."""
    match = _DECIMAL.fullmatch(text[:DECIMAL_CHARACTERS_MAX])
    if match is None or len(match["exponent"] or "") > _EXPONENT_CHARACTERS_MAX:
        return None
    number = Decimal(match[0])
    # The digits of a larger number would fill the memory, and it is out of every range.
    is_bounded = number.adjusted() <= DECIMAL_CHARACTERS_MAX
    return int(number) if is_bounded and number == number.to_integral_value() else None


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


def _object_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """The text of a JSON object, byte for byte: an object, or a string that contains it."""
    try:
        # In nearly every event it is an object: no call more than that needs.
        text: str = bytes(value).decode()  # type: ignore[call-overload]
    except UnicodeDecodeError as error:
        return _not_utf8(column, error)
    if text[0] == "{":
        return text
    inner = _in_string("" if text == "null" else text)
    if is_empty_array(text if inner is None else inner):
        return "{}"
    if inner is None:
        return wrong_type(column, text)
    if not inner:
        return inner
    try:
        decode_object(inner)
    except (msgspec.DecodeError, RecursionError):
        fault = wrong_type(column, inner)
        message = f"the string does not hold a JSON object, found {fault.found}"
        return FieldFault(Reason.WRONG_TYPE, column.name, message, fault.expected, fault.found)
    return inner


def _attributes(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    """A JSON object whose values are strings, numbers or booleans; a counter is a number.

    Source: the documentation of /logs/v1/import/profiles, "possible value types".
    """
    text = _object_text(column, value, window)
    if isinstance(text, FieldFault) or not text:
        return text
    for name, attribute in decode_object(text).items():
        # By its first character: msgspec has checked the rest.
        if bytes(attribute)[:1] not in b'"-0123456789tf':
            return wrong_type(column, f"{name}: {bytes(attribute).decode()}")
    return text


def _decimal(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """A number's own text, from a number or a string; an exponent is written out, exactly.

    More digits after the point than the API states are passed on: floats write them, and the API's
    page doesn't say that it refuses them.
    """
    text = _text(column, value)
    if isinstance(text, FieldFault):
        return text
    inner = _in_string(text)
    number = text if inner is None else inner
    if not number:
        return number
    match = _DECIMAL.fullmatch(number)
    if match is None:
        advice = "write the decimal point as a point" if _WITH_COMMA.fullmatch(number) else ""
        return advised(wrong_type(column, number), advice)
    if (
        len(number) > DECIMAL_CHARACTERS_MAX
        or len(match["exponent"] or "") > _EXPONENT_CHARACTERS_MAX
    ):
        return out_of_range(column, f"at most {DECIMAL_CHARACTERS_MAX} characters", number)
    if match["exponent"] is not None:
        # Python's JSON writes 0.00001 as 1e-05. A Decimal made of text is exact whatever the
        # context, and so is this format.
        number = format(Decimal(number), "f")
        if len(number) > DECIMAL_CHARACTERS_MAX:
            return out_of_range(column, f"at most {DECIMAL_CHARACTERS_MAX} characters", number)
    whole = number.partition(".")[0].lstrip("-0")
    if len(whole) > DECIMAL_WHOLE_DIGITS_MAX:
        expected = f"at most {DECIMAL_WHOLE_DIGITS_MAX} digits before the point"
        return out_of_range(column, expected, number)
    return number


def _array_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """The API's form of an array, `[a,b]`: from a JSON array of strings, or from such a text.

    Source: the Post API's sample of `product_promo_codes`. It shows no quoting, so an element may
    not contain what separates elements.
    """
    text = _text(column, value)
    if isinstance(text, FieldFault):
        return text
    inner = _in_string(text)
    if inner is not None:
        if not inner:
            return inner
        if not (inner.startswith("[") and inner.endswith("]") and len(inner) > 1):
            return wrong_type(column, inner)
        elements = inner[1:-1].split(",") if len(inner) > len("[]") else []
    else:
        try:
            elements = _array.decode(text)
        except msgspec.DecodeError:
            return wrong_type(column, text)
    if not all(_is_usable(element) for element in elements):
        expected = f"elements that are not empty and hold none of {ARRAY_SEPARATORS}"
        return out_of_range(column, expected, inner or text)
    return f"[{','.join(elements)}]" if elements else ""


def _is_usable(element: str) -> bool:
    has_separator = any(mark in element for mark in _UNUSABLE)
    return bool(element) and element == element.strip() and not has_separator


def _text(column: Column, value: object) -> str | FieldFault:
    """The JSON text; empty for a null."""
    try:
        text = bytes(value).decode() if isinstance(value, msgspec.Raw) else ""
    except UnicodeDecodeError as error:
        return _not_utf8(column, error)
    return "" if text == "null" else text


def _not_utf8(column: Column, error: UnicodeDecodeError) -> FieldFault:
    message = f"not UTF-8 at byte {error.start} of the value"
    return FieldFault(Reason.WRONG_TYPE, column.name, message, column.kind.value)


def _in_string(text: str) -> str | None:
    """The content of a JSON string; None where the text isn't a string, empty for an empty text."""
    if not text:
        return ""
    return decode_text(text) if text.startswith('"') else None


# A table and not a chain of branches: the fast pass looks up its column's rule once, not once per
# record.
CHECKS: dict[Kind, Check] = {
    Kind.STRING: _string,
    Kind.INTEGER: _integer_text,
    Kind.DEVICE_ID: _device_id,
    Kind.TIMESTAMP: _timestamp,
    Kind.DECIMAL: _decimal,
    Kind.JSON_OBJECT: _object_text,
    Kind.ATTRIBUTES: _attributes,
    Kind.ARRAY: _array_text,
    Kind.SESSION_TYPE: _session_type,
    Kind.IPV6: _address,
}

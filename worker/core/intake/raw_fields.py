"""The rules of the columns of `RAW_KINDS`: they take the field's JSON as `msgspec.Raw`.

Its syntax has been checked by msgspec, but not that its strings are UTF-8. No number passes through
a float.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from worker.core.intake.faults import advised, out_of_range, wrong_type
from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import (
    ARRAY_SEPARATORS,
    DECIMAL_CHARACTERS_MAX,
    DECIMAL_WHOLE_DIGITS_MAX,
    Column,
)

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


def integral(text: str) -> int | None:
    """The integer that a JSON number means, such as 1.0 or 1e3, exactly; None if it isn't one."""
    match = _DECIMAL.fullmatch(text[:DECIMAL_CHARACTERS_MAX])
    if match is None or len(match["exponent"] or "") > _EXPONENT_CHARACTERS_MAX:
        return None
    number = Decimal(match[0])
    # The digits of a larger number would fill the memory, and it is out of every range.
    is_bounded = number.adjusted() <= DECIMAL_CHARACTERS_MAX
    return int(number) if is_bounded and number == number.to_integral_value() else None


def is_empty_array(text: str) -> bool:
    """True for `[]`: PHP writes an empty object so."""
    return text.startswith("[") and text.endswith("]") and not text[1:-1].strip(_JSON_SPACE)


def object_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """The text of a JSON object, byte for byte: an object, or a string that contains it."""
    try:
        # The path of nearly every event, without further calls.
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


def attributes(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    """A JSON object whose values are strings, numbers or booleans; a counter is a number.

    Source: the documentation of /logs/v1/import/profiles, "possible value types".
    """
    text = object_text(column, value, window)
    if isinstance(text, FieldFault) or not text:
        return text
    for name, attribute in decode_object(text).items():
        # By its first character: msgspec has checked the rest.
        if bytes(attribute)[:1] not in b'"-0123456789tf':
            return wrong_type(column, f"{name}: {bytes(attribute).decode()}")
    return text


def decimal(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
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


def array_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
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

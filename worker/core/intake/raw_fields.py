"""The rules of the columns whose JSON text counts: objects passed on byte for byte, decimals kept
exact, arrays.

Each takes the field's JSON as `msgspec.Raw`, whose syntax msgspec has checked, but not that its
strings are UTF-8. Each gives the cell's text, empty for a null or an empty string, or a fault.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from worker.core.intake.fault_texts import out_of_range, wrong_type
from worker.core.intake.time_window import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import ARRAY_SEPARATORS, DECIMAL_CHARACTERS_MAX, Column

# ASCII digits only: \d takes those of every script.
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE](?P<exponent>[+-]?[0-9]+))?")
# Four characters of exponent span far more than a decimal's text may.
_EXPONENT_CHARACTERS_MAX = 4

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[str])

_UNUSABLE = (*ARRAY_SEPARATORS, "\n", "\r")


def object_text(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """The text of a JSON object, byte for byte: given as an object, or as a string that
    holds one.
    """
    try:
        # In nearly every event: an object. No call more than that needs.
        text: str = bytes(value).decode()  # type: ignore[call-overload]
    except UnicodeDecodeError as error:
        return _not_utf8(column, error)
    if text[0] == "{":
        return text
    inner = _in_string("" if text == "null" else text)
    if inner is None:
        return wrong_type(column, text)
    if not inner:
        return inner
    try:
        _object.decode(inner)
    except (msgspec.DecodeError, RecursionError):
        return FieldFault(Reason.WRONG_TYPE, column.name, *_not_in_string(column, inner))
    return inner


def attributes(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
    """A JSON object whose values are strings, numbers or booleans; a counter is a number.

    Source: the documentation of /logs/v1/import/profiles, "possible value types".
    """
    text = object_text(column, value, window)
    if isinstance(text, FieldFault) or not text:
        return text
    for name, one in _object.decode(text).items():
        # By its first character: msgspec has checked the rest.
        if bytes(one)[:1] not in b'"-0123456789tf':
            return wrong_type(column, f"{name}: {bytes(one).decode()}")
    return text


def decimal(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """A number's own text, given as a number or as a string; an exponent is written
    out, exactly.
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
        return wrong_type(column, number)
    exponent = match["exponent"]
    if (
        exponent is not None
        and len(exponent) <= _EXPONENT_CHARACTERS_MAX
        and len(number) <= DECIMAL_CHARACTERS_MAX
    ):
        # Python's JSON writes 0.00001 as 1e-05. A Decimal made of text is exact whatever the
        # context, and so is this format.
        number = format(Decimal(number), "f")
    elif exponent is not None:
        return out_of_range(column, f"at most {DECIMAL_CHARACTERS_MAX} characters", number)
    if len(number) > DECIMAL_CHARACTERS_MAX:
        return out_of_range(column, f"at most {DECIMAL_CHARACTERS_MAX} characters", number)
    return number


def array(column: Column, value: object, _: TimeWindow) -> str | FieldFault:
    """The API's form of an array, `[a,b]`: made of a JSON array of strings, or given as text in
    that very form.

    Source: the Post API's sample of `product_promo_codes`. It shows no quoting, so an element may
    not hold what separates them.
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
    if any(
        not one or one != one.strip() or any(mark in one for mark in _UNUSABLE) for one in elements
    ):
        return out_of_range(
            column,
            f"elements that are not empty and hold none of {ARRAY_SEPARATORS}",
            inner or text,
        )
    return f"[{','.join(elements)}]" if elements else ""


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
    """What a JSON string holds; None where the text is no string. An empty text is an
    absent value.
    """
    if not text:
        return ""
    return msgspec.json.decode(text, type=str) if text.startswith('"') else None


def _not_in_string(column: Column, inner: str) -> tuple[str, str, str]:
    fault = wrong_type(column, inner)
    return (
        f"the string does not hold a JSON object, found {fault.found}",
        fault.expected,
        fault.found,
    )

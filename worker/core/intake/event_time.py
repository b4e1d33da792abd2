"""The time of an event: converts the unit of a route to Unix seconds, and checks the window.

The result is exact to the second, rounded down. A time is computed in integers, whether it is a
number, a fraction, or a number as text: a float has 53 bits and changes microseconds.

The unit `auto` is unambiguous. Between `PLAIN_FROM` and `PLAIN_UNTIL` (in Unix seconds the years
1973 and 5138) lies a factor of a thousand, as between two units. So a number is a time within these
years in one unit at most. A number that is such a time in no unit is refused.

Sources: RFC 3339; ISO 8601 as Java, Python, PHP and PostgreSQL write it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from worker.core.intake.faults import advised, fault, found
from worker.core.intake.rules import RecordTime, TimeUnit, TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column

# Unix seconds of 1973 and of 5138: producers mean no other years.
PLAIN_FROM, PLAIN_UNTIL = 10**8, 10**11
# As seconds this is the year 5138, as milliseconds 1973.
MILLISECONDS_FROM = PLAIN_UNTIL
_PER_SECOND = {
    TimeUnit.SECONDS: 1,
    TimeUnit.MILLISECONDS: 10**3,
    TimeUnit.MICROSECONDS: 10**6,
    TimeUnit.NANOSECONDS: 10**9,
}
# A longer text is no time, and the digits of 1e999999999 would fill the memory.
_CHARACTERS_MAX = 64
_NUMBER = re.compile(
    r"(?P<whole>-?[0-9]+)(?:\.(?P<fraction>[0-9]+))?(?:[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]"
_RFC_3339 = re.compile(
    rf"(?P<time>{_DATE}[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}})(?:\.[0-9]+)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
# Java's OffsetDateTime leaves out seconds that are 0, PHP's DATE_ISO8601 writes +0300, PostgreSQL
# +03; ISO 8601 allows a comma before the fraction.
_ISO_8601 = re.compile(
    rf"(?P<time>{_DATE}[0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:[.,][0-9]+)?)?)"
    r"(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
)
_WITHOUT_OFFSET = re.compile(rf"{_DATE}[0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:[.,][0-9]+)?)?")
_FRACTION = re.compile(r"[.,][0-9]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_EXAMPLE = "as in 2023-11-14T22:13:20Z"
_EXPECTED = {
    **{unit: f"Unix time in {unit}" for unit in _PER_SECOND},
    TimeUnit.ISO8601: f"an ISO 8601 time with an offset, {_ISO_EXAMPLE}",
    TimeUnit.AUTO: "Unix time in seconds, milliseconds, microseconds or nanoseconds, or an ISO "
    f"8601 time with an offset, {_ISO_EXAMPLE}",
}


def expected_time(time: RecordTime) -> str:
    """The text after "expected" for the times of a route."""
    return _EXPECTED[time.unit]


def time_check(time: RecordTime) -> Callable[[Column, object, TimeWindow], str | FieldFault]:
    """The check of a route whose records write times in a unit.

    The function takes the field's JSON as `msgspec.Raw`, or an integer: Unix seconds that come from
    the record's wrapping, or from the record itself.
    """
    unit = time.unit
    per_second = _PER_SECOND.get(unit, 0)

    def check(column: Column, value: object, window: TimeWindow) -> str | FieldFault:
        if isinstance(value, int):
            return in_window(column, value, window)
        digits = bytes(value)  # type: ignore[call-overload]
        if per_second and len(digits) <= _CHARACTERS_MAX and digits.isdigit():
            # The path of nearly every number, without further calls.
            seconds = int(digits) // per_second
            if window.earliest <= seconds <= window.latest:
                return str(seconds)
        return _cell(column, digits, unit, window)

    return check


def in_window(column: Column, seconds: int, window: TimeWindow) -> str | FieldFault:
    """The cell of a time in the window, or the fault of a time outside."""
    if window.earliest <= seconds <= window.latest:
        return str(seconds)
    unit = _unit_of(seconds)
    if unit is not None and unit is not TimeUnit.SECONDS:
        in_seconds = seconds // _PER_SECOND[unit]
        message = f"{seconds} looks like {unit}; send Unix time in seconds: {in_seconds}"
        expected = column.kind.value
        return FieldFault(Reason.MILLISECONDS, column.name, message, expected, str(seconds))
    return _outside(column, str(seconds), seconds, window)


def advice_on_text(text: str) -> str:
    """What to do with a text in place of Unix seconds, where no setting reads it; often empty."""
    if len(text) > _CHARACTERS_MAX:
        return ""
    if _ISO_8601.fullmatch(text) or _WITHOUT_OFFSET.fullmatch(text):
        return "send Unix time in seconds, or set time.unit: iso8601 for the route"
    number = _NUMBER.fullmatch(text)
    return "round down to an integer" if number is not None and number["fraction"] else ""


def rfc_3339_seconds(text: str) -> int | None:
    """An RFC 3339 time in Unix seconds, rounded down; None if it isn't such a time."""
    return _calendar_seconds(_RFC_3339.fullmatch(text))


def _cell(column: Column, json: bytes, unit: TimeUnit, window: TimeWindow) -> str | FieldFault:
    """The cell of a field's JSON; empty where that is null or an empty string."""
    text = _text(column, json, _EXPECTED[unit])
    if isinstance(text, FieldFault) or not text:
        return text
    seconds = _seconds(column, text, unit)
    if isinstance(seconds, FieldFault):
        return seconds
    if window.earliest <= seconds <= window.latest:
        return str(seconds)
    return _other_unit(column, text, unit) or _outside(column, text, seconds, window)


def _text(column: Column, json: bytes, expected: str) -> str | FieldFault:
    """The text of a JSON number, or the text in a JSON string; empty for a null."""
    try:
        text = json.decode()
        inner = msgspec.json.decode(json, type=str) if text.startswith('"') else text
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start} of the value"
        return FieldFault(Reason.WRONG_TYPE, column.name, message, expected)
    except msgspec.DecodeError as error:
        message = f"expected {expected}: {error}"
        return FieldFault(Reason.WRONG_TYPE, column.name, message, expected)
    return "" if text == "null" else inner


def _seconds(column: Column, text: str, unit: TimeUnit) -> int | FieldFault:
    """The Unix seconds that a text means in a unit, rounded down."""
    number = _number(text)
    if number is None:
        return _seconds_of_calendar(column, text, unit)
    if unit is TimeUnit.ISO8601:
        return _not_a_time(column, text, unit)
    if unit is not TimeUnit.AUTO:
        return _floor(number, _PER_SECOND[unit])
    recognised = _unit_of(_floor(number, 1))
    if recognised is not None:
        return _floor(number, _PER_SECOND[recognised])
    shown = _shown(text)
    message = f"{shown} is a time between 1973 and 5138 in no unit, so its unit can't be known"
    return FieldFault(Reason.OUT_OF_RANGE, column.name, message, _EXPECTED[unit], shown)


def _seconds_of_calendar(column: Column, text: str, unit: TimeUnit) -> int | FieldFault:
    is_short = len(text) <= _CHARACTERS_MAX
    seconds = _calendar_seconds(_ISO_8601.fullmatch(text)) if is_short else None
    if seconds is None:
        is_local = is_short and _WITHOUT_OFFSET.fullmatch(text) is not None
        advice = "without an offset it could be any of a day's hours: add Z, or one such as +03:00"
        return _not_a_time(column, text, unit, advice if is_local else "")
    if unit in _PER_SECOND:
        return _not_a_time(column, text, unit, "set time.unit: iso8601 for the route")
    return seconds


def _not_a_time(column: Column, text: str, unit: TimeUnit, advice: str = "") -> FieldFault:
    return advised(fault(Reason.WRONG_TYPE, column, _EXPECTED[unit], text), advice)


def _other_unit(column: Column, text: str, unit: TimeUnit) -> FieldFault | None:
    """The fault of a number that is a time from 1973 to 5138 in another unit than the route's."""
    number = _number(text)
    other = _unit_of(_floor(number, 1)) if number is not None else None
    if other is None or other is unit or unit is TimeUnit.AUTO:
        return None
    shown = _shown(text)
    message = f"{shown} looks like {other}, but time.unit of the route is {unit}"
    return FieldFault(Reason.MILLISECONDS, column.name, message, _EXPECTED[unit], shown)


def _outside(column: Column, text: str, seconds: int, window: TimeWindow) -> FieldFault:
    """The fault of a time outside the window."""
    shown, name = _shown(text), column.name
    subject = shown if text == str(seconds) else f"{shown}, in Unix seconds {seconds},"
    if seconds < window.earliest:
        age, limit = window.now - seconds, window.now - window.earliest
        message = f"{subject} is {_days(age)} old; the limit is {_days(limit)}"
        return FieldFault(Reason.TOO_OLD, name, message, f"at least {window.earliest}", shown)
    distance = f"{seconds - window.latest} s later than the latest accepted time"
    advice = "; send Unix time in seconds" if text == str(seconds) else ""
    message = f"{subject} is {distance} ({window.latest}){advice}"
    return FieldFault(Reason.IN_FUTURE, name, message, f"at most {window.latest}", shown)


def _days(seconds: int) -> str:
    """A duration in days, rounded down to tenths, and in seconds."""
    tenths = seconds * 10 // 86_400
    days = f"{tenths // 10}.{tenths % 10}".removesuffix(".0")
    return f"{days} days ({seconds} s)"


def _shown(text: str) -> str:
    """A number or a calendar time in a message: cut, without quotes."""
    return found(text)[1:-1]


def _unit_of(number: int) -> TimeUnit | None:
    """The unit in which a number is a time from 1973 to 5138; None if there is none."""
    for unit, per_second in _PER_SECOND.items():
        if PLAIN_FROM * per_second <= number < PLAIN_UNTIL * per_second:
            return unit
    return None


def _number(text: str) -> re.Match[str] | None:
    return _NUMBER.fullmatch(text) if len(text) <= _CHARACTERS_MAX else None


def _floor(number: re.Match[str], divisor: int) -> int:
    """The number divided by this, rounded down, also if it is negative."""
    fraction = number["fraction"] or ""
    digits = int(number["whole"] + fraction)
    scale = len(fraction) - int(number["exponent"] or 0)
    power: int = 10 ** abs(scale)
    return digits // (power * divisor) if scale >= 0 else digits * power // divisor


def _calendar_seconds(match: re.Match[str] | None) -> int | None:
    if match is None:
        return None
    # Without the fraction: it never changes the second that a time is in.
    text = _FRACTION.sub("", match["time"]) + match["offset"]
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // timedelta(seconds=1)
    except ValueError:
        return None

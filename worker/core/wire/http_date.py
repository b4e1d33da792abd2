"""Dates in HTTP headers.

Each field of a date is read on its own and has bounds, so that no value of a server raises.

Source: RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, and the two obsolete forms that a
recipient must accept: `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`. A zone as in
mails (`+0100`) is accepted too, because servers send it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

# Longer than any date; a hostile header may have 64 KiB.
CHARACTERS_MAX = 64
# A year of two digits from this on is one of the last century: no header is older than Unix time.
# RFC 9110, section 5.6.7, draws the line 50 years ahead of today, which differs from 2020 on only
# for years that no server means.
CENTURY_BEGINS = 70

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = (
    re.compile(
        r"(?:[A-Za-z]{3,9}, *)?(?P<day>[0-9]{1,2})[ -](?P<month>[A-Za-z]{3})[ "
        r"-](?P<year>[0-9]{4}|[0-9]{2}) +" + _CLOCK + r" +(?P<zone>GMT|UTC|Z|[+-][0-9]{4})"
    ),
    re.compile(
        r"[A-Za-z]{3} (?P<month>[A-Za-z]{3}) +(?P<day>[0-9]{1,2}) "
        + _CLOCK
        + r" (?P<year>[0-9]{4})(?P<zone>)"
    ),
)


def unix_seconds_of(header: str | None) -> float | None:
    """Return the header's time in Unix seconds; None if it is absent or is no date."""
    if header is None or len(header) > CHARACTERS_MAX:
        return None
    text = header.strip()
    match = next((match for form in _FORMS if (match := form.fullmatch(text)) is not None), None)
    if match is None or (month := match["month"].lower()) not in _MONTHS:
        return None
    offset = _offset_seconds(match["zone"])
    if offset is None:
        return None
    try:
        moment = datetime(
            _year(match["year"]),
            _MONTHS.index(month) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            # A leap second has no place of its own in Unix time.
            min(int(match["second"]), 59),
            tzinfo=UTC,
        )
    except ValueError:
        # A day, an hour or a year that doesn't exist.
        return None
    return moment.timestamp() - offset


def _year(digits: str) -> int:
    if len(digits) == 4:
        return int(digits)
    return int(digits) + (1900 if int(digits) >= CENTURY_BEGINS else 2000)


def _offset_seconds(zone: str) -> int | None:
    """Return how far the zone is ahead of UTC; None for `-0000`, which is an unknown zone."""
    if not zone.startswith(("+", "-")):
        return 0
    if zone == "-0000":
        return None
    size = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
    return -size if zone.startswith("-") else size

"""The `Retry-After` header, in both of its forms.

Source: RFC 9110, section 10.2.3: a number of seconds or an HTTP date.
"""

from __future__ import annotations

from worker.core.wire.http_date import unix_seconds_of

# More digits than any wait makes sense in; int() of a hostile header of thousands would raise.
DIGITS_MAX = 9


def seconds_to_wait(header: str | None, *, unix_seconds: float, max_seconds: float) -> float:
    """How long the header asks to wait from now: from 0 to `max_seconds`. 0 where it is absent or
    unreadable.
    """
    if header is None:
        return 0.0
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), max_seconds) if len(text) <= DIGITS_MAX else max_seconds
    date = unix_seconds_of(text)
    return 0.0 if date is None else min(max(date - unix_seconds, 0.0), max_seconds)

"""The time of an event: Unix seconds within the accepted window."""

from __future__ import annotations

from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column

# As seconds this is the year 5138: no producer means that. The numbers of each finer unit below are
# the years from 1973 to 5138.
MILLISECONDS_FROM = 10**11
# Each finer unit: its first number, its last, and how many make a second.
_FINER_UNITS = (
    ("milliseconds", MILLISECONDS_FROM, 10**14, 10**3),
    ("microseconds", 10**14, 10**17, 10**6),
    ("nanoseconds", 10**17, 10**20, 10**9),
)


def in_window(column: Column, seconds: int, window: TimeWindow) -> str | FieldFault:
    """The cell of a time in the window, or why it isn't accepted."""
    if window.earliest <= seconds <= window.latest:
        return str(seconds)
    for unit, first, end, per_second in _FINER_UNITS:
        if first <= seconds < end:
            in_seconds = seconds // per_second
            message = f"{seconds} looks like {unit}; send Unix time in seconds: {in_seconds}"
            expected = column.kind.value
            return FieldFault(Reason.MILLISECONDS, column.name, message, expected, str(seconds))
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
    return FieldFault(
        Reason.IN_FUTURE,
        column.name,
        f"{seconds} is {ahead}; send Unix time in seconds",
        f"at most {window.latest}",
        str(seconds),
    )

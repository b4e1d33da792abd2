"""The time of an event: Unix seconds within the accepted window."""

from __future__ import annotations

from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column

# As seconds these are the years 5138 and 3,170,843: no producer means that. As milliseconds they
# are 1973 and 5138.
MILLISECONDS_FROM = 10**11
MILLISECONDS_BELOW = 10**14


def in_window(column: Column, seconds: int, window: TimeWindow) -> str | FieldFault:
    """The cell of a time in the window, or why it isn't accepted."""
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
    return FieldFault(
        Reason.IN_FUTURE,
        column.name,
        f"{seconds} is {ahead}; send Unix time in seconds",
        f"at most {window.latest}",
        str(seconds),
    )

"""Kinds of parameters that several commands take."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNIX = re.compile(r"[0-9]{9,11}")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str) -> int:
    """A moment as people write it, in Unix milliseconds. Times without a zone are UTC.

    Raises:
        click.BadParameter: it is none.
    """
    if (ago := _AGO.fullmatch(text)) is not None:
        return round((time.time() - int(ago[1]) * _SECONDS[ago[2]]) * 1000)
    if _UNIX.fullmatch(text):
        return int(text) * 1000
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time: write 2026-11-25, 2026-11-25T10:00, Unix seconds, or an "
            "age such as 30m, 2h or 7d"
        ) from None
    return round(
        (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp() * 1000
    )

"""The two times of a turn, read once by the shell and handed to everything that decides."""

from __future__ import annotations

from typing import NamedTuple


class Now(NamedTuple):
    """One moment. `monotonic_seconds` measures spans, `unix_seconds` dates events; they are never mixed."""

    monotonic_seconds: float
    unix_seconds: float

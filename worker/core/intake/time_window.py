"""Which event times are taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Which event times are taken, in Unix seconds, both ends inclusive."""

    earliest: int
    latest: int

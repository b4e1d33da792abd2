"""The two times of a moment, read once per event, and the trust in the local clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Now(NamedTuple):
    """One moment.

    `monotonic_seconds` measures durations, `unix_seconds` dates events; they are never compared.
    """

    monotonic_seconds: float
    unix_seconds: float


class Trust(StrEnum):
    """The trust in the local clock, on which a check of an event's age depends.

    A witness has confirmed the clock, or has not yet, or contradicts it:
    `progress/clock_check.py`.
    """

    VOUCHED = "vouched"
    UNVOUCHED = "unvouched"
    DOUBTED = "doubted"


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """The local clock as operators see it.

    `seconds_ahead` is its difference from the API's clock, None while that is unknown.
    """

    trust: Trust
    seconds_ahead: float | None

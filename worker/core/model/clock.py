"""The two times of a turn, read once per event, and what the local clock is worth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Now(NamedTuple):
    """One moment.

    `monotonic_seconds` measures spans, `unix_seconds` dates events; they are never mixed.
    """

    monotonic_seconds: float
    unix_seconds: float


class Trust(StrEnum):
    """How far the local clock is trusted to decide whether an event is too old.

    Vouched for by a witness, not vouched for yet, or contradicted. What it comes from is in
    `progress/clock_check.py`.
    """

    VOUCHED = "vouched"
    UNVOUCHED = "unvouched"
    DOUBTED = "doubted"


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """The local clock as operators see it.

    `seconds_ahead` of the API's clock; None while that isn't known.
    """

    trust: Trust
    seconds_ahead: float | None

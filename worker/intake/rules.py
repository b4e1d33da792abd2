"""What one route demands of its records."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.intake.fields import TimeWindow
from worker.model.resource import Resource


class UnknownFields(StrEnum):
    """What becomes of a field that the resource doesn't know."""

    REJECT = "reject"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """The rules of one route.

    `applications` are those with a key: a record for another can't be delivered. At most one of `key_header` and `key_field`
    names where the producer puts its own event id. A row's line may take `row_bytes_max` bytes.
    """

    resource: Resource
    applications: frozenset[int]
    unknown_fields: UnknownFields
    key_header: str | None
    key_field: str | None
    event_age_seconds_max: int
    event_ahead_seconds_max: int
    row_bytes_max: int

    def window(self, unix_seconds: float) -> TimeWindow:
        """The event times taken at this moment."""
        now = int(unix_seconds)
        return TimeWindow(earliest=now - self.event_age_seconds_max, latest=now + self.event_ahead_seconds_max)

"""Rows of ordered profiles, and a stage that keeps their order."""

from __future__ import annotations

from tests.builders import make_batch, make_row
from tests.unit.core.delivery.dispatching import (
    Stage,
    offsets,
)
from worker.core.model.batch import Batch
from worker.core.model.record import Assignment
from worker.core.model.row import Destination, Row
from worker.core.post_api.resource import Identity

PROFILES = Destination("profiles", 1111, Identity.PROFILE_ID)
ORDERED = frozenset({("offline-events", "profiles")})


def profile(offset: int, subject: str, assignment: Assignment | None = None) -> Row:
    line = f'1111,{subject},"{{""n"":{offset}}}"\n'.encode()
    return make_row(offset, destination=PROFILES, line=line, assignment=assignment)


def batch_of(first: int, *subjects: str) -> Batch:
    """Rows of these subjects, with offsets from `first` on."""
    rows = [profile(first + index, subject) for index, subject in enumerate(subjects)]
    return make_batch(rows, batch_id=f"batch-{first}")


def stage() -> Stage:
    return Stage(ordered=ORDERED, requests_in_flight_max=8)


def sent(batches: list[Batch]) -> list[list[int]]:
    return [offsets(batch.rows) for batch in batches]

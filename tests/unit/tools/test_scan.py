"""The topics of dead letters and parked records, and counts of what they hold."""

from __future__ import annotations

from tests.builders import UNIX_SECONDS
from tests.unit.tools.stored import make_rejection, make_stored, settings
from worker.core.model.fault import Reason
from worker.tools.dead_letters.scan import (
    Statistics,
    StoredKind,
    redelivered_topics,
    stored_topics,
)

ROUTES = (
    "[{topic: films}, {topic: games, dead_letter: {topic: games.dead}, parking: {topic: "
    "games.waiting}}]"
)


def test_dead_letters_are_in_the_dead_letter_topics_of_all_routes() -> None:
    assert stored_topics(settings(routes=ROUTES), StoredKind.DEAD_LETTERS) == (
        "offline-events.dlq",
        "games.dead",
    )
    assert stored_topics(settings(routes=ROUTES), StoredKind.DEAD_LETTERS, ["other", "other"]) == (
        "other",
    )


def test_parked_records_are_redelivered_only_while_parking_is_enabled() -> None:
    on, off = settings(routes=ROUTES), settings(routes=ROUTES, parking__enabled="false")
    topics = stored_topics(on, StoredKind.PARKED)
    assert topics == stored_topics(off, StoredKind.PARKED) == ("films.parked", "games.waiting")
    assert redelivered_topics(on, topics) == topics
    assert redelivered_topics(off, topics) == ()


def test_records_are_counted_by_reason_application_and_day() -> None:
    statistics = Statistics()
    for stored in (
        make_stored(0),
        make_stored(1, at=UNIX_SECONDS + 86_400),
        make_stored(2, rejection=make_rejection(value=b"x", reason=Reason.NOT_JSON)),
    ):
        statistics.add(stored)
    assert statistics.document() == {
        "records": 3,
        "by_reason": {"missing": 2, "not_json": 1},
        "by_application": {"1111": 2, "unknown": 1},
        "by_day": {"2023-11-14": {"missing": 1, "not_json": 1}, "2023-11-15": {"missing": 1}},
    }

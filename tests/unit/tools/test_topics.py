"""Which topics hold what could not be delivered."""

from __future__ import annotations

from tests.unit.tools.letters import settings
from worker.tools.dead_letters.topics import LetterKind, letter_topics, redelivered_topics

ROUTES = (
    "[{topic: films}, {topic: games, dead_letter: {topic: games.dead}, parking: {topic: "
    "games.waiting}}]"
)


def test_dead_letters_lie_in_the_dead_letter_topics_of_all_routes() -> None:
    assert letter_topics(settings(routes=ROUTES), LetterKind.DEAD) == (
        "offline-events.dlq",
        "games.dead",
    )
    assert letter_topics(settings(routes=ROUTES), LetterKind.DEAD, ["other", "other"]) == ("other",)


def test_parked_records_come_home_only_while_parking_is_enabled() -> None:
    on, off = settings(routes=ROUTES), settings(routes=ROUTES, parking__enabled="false")
    topics = letter_topics(on, LetterKind.PARKED)
    assert topics == letter_topics(off, LetterKind.PARKED) == ("films.parked", "games.waiting")
    assert redelivered_topics(on, topics) == topics
    assert redelivered_topics(off, topics) == ()

"""Stored records: their topics, the records that a selection matches, and their counts."""

from __future__ import annotations

import pytest

from tests.builders import UNIX_SECONDS
from tests.unit.tools.stored import make_rejection, make_stored, settings
from worker.core.model.fault import Reason
from worker.tools.dead_letters.replay_plan import ReplayedSelection
from worker.tools.dead_letters.scan import (
    RecordSelection,
    Statistics,
    StoredKind,
    parse_selection,
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


MILLISECONDS = UNIX_SECONDS * 1000
STORED = make_stored(5, rejection=make_rejection(reason=Reason.MISSING))
REPLAYED_TWICE = make_stored(5, rejection=make_rejection(replays=2))


@pytest.mark.parametrize(
    ("selection", "is_match"),
    [
        (RecordSelection(), True),
        (RecordSelection(reasons=("missing", "refused")), True),
        (RecordSelection(reasons=("refused",)), False),
        (RecordSelection(applications=(1111,)), True),
        (RecordSelection(applications=(2222,)), False),
        (RecordSelection(since=MILLISECONDS), True),
        (RecordSelection(since=MILLISECONDS + 1), False),
        (RecordSelection(until=MILLISECONDS), False),
        (RecordSelection(until=MILLISECONDS + 1), True),
    ],
)
def test_a_selection_matches_what_meets_every_condition(
    selection: RecordSelection, is_match: bool
) -> None:
    assert selection.matches(STORED) is is_match


def test_a_record_with_too_many_replays_does_not_match() -> None:
    assert RecordSelection(replays_max=3).matches(REPLAYED_TWICE)
    assert not RecordSelection(replays_max=2).matches(REPLAYED_TWICE)
    assert RecordSelection(replays_max=2).matches_content(REPLAYED_TWICE)


def test_a_selection_is_parsed_from_its_text_in_any_order() -> None:
    selection = RecordSelection(("b", "a", "b"), (2, 1), 3, 4, 5)
    other = RecordSelection(("a", "b"), (1, 2), 3, 4, 5)
    assert selection.text() == other.text() and selection.digest() == other.digest()
    assert parse_selection(selection.text()) == other
    assert selection.digest() != RecordSelection(("a", "b"), (1, 2), 3, 4, 6).digest()


@pytest.mark.parametrize("text", ["", "1:AAAA", "[]", '{"x": 1}', "{"])
def test_other_metadata_is_no_selection(text: str) -> None:
    assert parse_selection(text) is None


def test_a_replay_includes_matching_records_below_its_position() -> None:
    missing = RecordSelection(reasons=("missing",), replays_max=3)
    assert ReplayedSelection(6, missing).includes(STORED)
    assert not ReplayedSelection(5, missing).includes(STORED)
    assert not ReplayedSelection(6, RecordSelection(reasons=("refused",))).includes(STORED)
    # It did not replay a record with too many replays: another replay may.
    assert not ReplayedSelection(6, RecordSelection(replays_max=2)).includes(REPLAYED_TWICE)

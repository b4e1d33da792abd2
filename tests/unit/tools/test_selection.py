"""The records that a selection matches, and those that a replay of it has replayed."""

from __future__ import annotations

import pytest

from tests.builders import UNIX_SECONDS
from tests.unit.tools.stored import make_rejection, make_stored
from worker.core.model.fault import Reason
from worker.tools.dead_letters.replay_plan import ReplayedSelection
from worker.tools.dead_letters.selection import Selection, parse

MILLISECONDS = UNIX_SECONDS * 1000
STORED = make_stored(5, rejection=make_rejection(reason=Reason.MISSING))
REPLAYED_TWICE = make_stored(5, rejection=make_rejection(replays=2))


@pytest.mark.parametrize(
    ("selection", "is_match"),
    [
        (Selection(), True),
        (Selection(reasons=("missing", "refused")), True),
        (Selection(reasons=("refused",)), False),
        (Selection(applications=(1111,)), True),
        (Selection(applications=(2222,)), False),
        (Selection(since=MILLISECONDS), True),
        (Selection(since=MILLISECONDS + 1), False),
        (Selection(until=MILLISECONDS), False),
        (Selection(until=MILLISECONDS + 1), True),
    ],
)
def test_a_selection_matches_what_meets_every_condition(
    selection: Selection, is_match: bool
) -> None:
    assert selection.matches(STORED) is is_match


def test_a_record_with_too_many_replays_does_not_match() -> None:
    assert Selection(replays_max=3).matches(REPLAYED_TWICE)
    assert not Selection(replays_max=2).matches(REPLAYED_TWICE)
    assert Selection(replays_max=2).matches_content(REPLAYED_TWICE)


def test_a_selection_is_parsed_from_its_text_in_any_order() -> None:
    selection = Selection(("b", "a", "b"), (2, 1), 3, 4, 5)
    other = Selection(("a", "b"), (1, 2), 3, 4, 5)
    assert selection.text() == other.text() and selection.digest() == other.digest()
    assert parse(selection.text()) == other
    assert selection.digest() != Selection(("a", "b"), (1, 2), 3, 4, 6).digest()


@pytest.mark.parametrize("text", ["", "1:AAAA", "[]", '{"x": 1}', "{"])
def test_other_metadata_is_no_selection(text: str) -> None:
    assert parse(text) is None


def test_a_replay_includes_matching_records_below_its_position() -> None:
    missing = Selection(reasons=("missing",), replays_max=3)
    assert ReplayedSelection(6, missing).includes(STORED)
    assert not ReplayedSelection(5, missing).includes(STORED)
    assert not ReplayedSelection(6, Selection(reasons=("refused",))).includes(STORED)
    # It did not replay a record with too many replays: another replay may.
    assert not ReplayedSelection(6, Selection(replays_max=2)).includes(REPLAYED_TWICE)

"""Which letters a selection means, and what a replay of it has sent back."""

from __future__ import annotations

import pytest

from tests.builders import UNIX_SECONDS
from tests.unit.tools.letters import make_letter, make_rejection
from worker.core.model.fault import Reason
from worker.tools.dead_letters.selection import ReplayedSelection, Selection, parse

MILLISECONDS = UNIX_SECONDS * 1000
LETTER = make_letter(5, rejection=make_rejection(reason=Reason.MISSING))
SENT_TWICE = make_letter(5, rejection=make_rejection(replays=2))


@pytest.mark.parametrize(
    ("selection", "is_meant"),
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
def test_a_selection_means_what_all_of_it_fits(selection: Selection, is_meant: bool) -> None:
    assert selection.matches(LETTER) is is_meant


def test_a_letter_that_was_sent_back_often_enough_is_not_meant() -> None:
    assert Selection(replays_max=3).matches(SENT_TWICE)
    assert not Selection(replays_max=2).matches(SENT_TWICE)
    assert Selection(replays_max=2).is_about(SENT_TWICE)


def test_a_selection_comes_back_from_its_text_whatever_order_it_was_typed_in() -> None:
    selection = Selection(("b", "a", "b"), (2, 1), 3, 4, 5)
    other = Selection(("a", "b"), (1, 2), 3, 4, 5)
    assert selection.text() == other.text() and selection.digest() == other.digest()
    assert parse(selection.text()) == other
    assert selection.digest() != Selection(("a", "b"), (1, 2), 3, 4, 6).digest()


@pytest.mark.parametrize("text", ["", "1:AAAA", "[]", '{"x": 1}', "{"])
def test_what_stands_beside_a_position_may_be_anything(text: str) -> None:
    assert parse(text) is None


def test_an_account_names_what_lies_below_it_and_was_meant() -> None:
    missing = Selection(reasons=("missing",), replays_max=3)
    assert ReplayedSelection(6, missing).has_sent(LETTER)
    assert not ReplayedSelection(5, missing).has_sent(LETTER)
    assert not ReplayedSelection(6, Selection(reasons=("refused",))).has_sent(LETTER)
    # A letter that it refused for its replays wasn't sent: another replay may.
    assert not ReplayedSelection(6, Selection(replays_max=2)).has_sent(SENT_TWICE)

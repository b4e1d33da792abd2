"""Counts, bars and explanations."""

from __future__ import annotations

import pytest

from tests.builders import UNIX_SECONDS
from tests.unit.tools.letters import make_letter, make_rejection
from worker.core.model.fault import Reason
from worker.tools.dead_letters.explanations import EXPLANATIONS, explanation
from worker.tools.dead_letters.record import FOREIGN, PARKED
from worker.tools.dead_letters.statistics import BAR_CELLS, Statistics, bar


def test_letters_are_counted_by_reason_application_and_day() -> None:
    statistics = Statistics()
    for letter in (
        make_letter(0),
        make_letter(1, at=UNIX_SECONDS + 86_400),
        make_letter(2, rejection=make_rejection(value=b"x", reason=Reason.NOT_JSON)),
    ):
        statistics.add(letter)
    assert statistics.document() == {
        "records": 3,
        "by_reason": {"missing": 2, "not_json": 1},
        "by_application": {"1111": 2, "unknown": 1},
        "by_day": {"2023-11-14": {"missing": 1, "not_json": 1}, "2023-11-15": {"missing": 1}},
    }


@pytest.mark.parametrize(
    ("count", "largest", "cells"),
    [(10, 10, BAR_CELLS), (5, 10, BAR_CELLS // 2), (1, 10**9, 1), (0, 10, 0), (0, 0, 0)],
)
def test_a_bar_is_as_long_as_its_share_and_never_nothing_for_something(
    count: int, largest: int, cells: int
) -> None:
    assert len(bar(count, largest)) == cells


def test_every_reason_is_explained() -> None:
    assert {reason.value for reason in Reason} | {PARKED, FOREIGN} <= EXPLANATIONS.keys()
    assert "not known" in explanation("made_up_later")

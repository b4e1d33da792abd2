"""The backoff: its curve, its jitter and its bounds."""

from __future__ import annotations

from math import nextafter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.delivery.backoff import Backoff

ALMOST_ONE = nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    ("attempts", "ceiling"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (33, 60.0), (10**9, 60.0)],
)
def test_the_wait_lies_between_nothing_and_a_ceiling_that_doubles_up_to_the_bound(
    attempts: int, ceiling: float
) -> None:
    shortest = Backoff(0.5, 60.0, lambda: 0.0).wait_seconds(attempts=attempts, wait_seconds_min=0.0)
    longest = Backoff(0.5, 60.0, lambda: ALMOST_ONE).wait_seconds(
        attempts=attempts, wait_seconds_min=0.0
    )
    assert shortest == 0.0
    assert longest == pytest.approx(ceiling)
    assert longest <= ceiling


def test_chance_comes_on_top_of_the_wait_asked_by_the_api_which_may_pass_the_bound() -> None:
    backoff = Backoff(0.5, 60.0, lambda: 0.0)
    assert backoff.wait_seconds(attempts=1, wait_seconds_min=300.0) == 300.0
    longer = Backoff(0.5, 60.0, lambda: 0.5).wait_seconds(attempts=8, wait_seconds_min=7.0)
    assert longer == 37.0


@settings(deadline=None, max_examples=200)
@given(
    attempts=st.integers(1, 10**6),
    wait_seconds_min=st.floats(0, 1000),
    draw=st.floats(0, 1, exclude_max=True),
    initial_seconds=st.floats(0.001, 60),
)
def test_the_wait_stays_within_its_interval(
    attempts: int, wait_seconds_min: float, draw: float, initial_seconds: float
) -> None:
    wait = Backoff(initial_seconds, 60.0, lambda: draw).wait_seconds(
        attempts=attempts, wait_seconds_min=wait_seconds_min
    )
    assert wait_seconds_min <= wait <= wait_seconds_min + 60.0

"""Histograms: which bucket a value falls into, and that nothing is left out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.counters.histogram import Histogram


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (-1.0, 0),
        (0.0, 0),
        (1.0, 0),
        (1.0001, 1),
        (2.0, 1),
        (5.0, 2),
        (5.0001, 3),
        (float("inf"), 3),
    ],
)
def test_a_bound_belongs_to_the_bucket_below_it(value: float, bucket: int) -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    histogram.observe(value)
    assert histogram.counts == [int(index == bucket) for index in range(4)]
    assert histogram.sum == value


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (1.0, 1.0), (1.0, 3.0, 2.0)], ids=str)
def test_bounds_that_do_not_rise_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bounds must rise"):
        Histogram(bounds)


def test_without_bounds_everything_is_counted_in_one_bucket() -> None:
    histogram = Histogram(())
    histogram.observe_all([1.0, 2.0])
    assert histogram.cumulative() == [2]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(-10, 10).map(float), max_size=50))
def test_the_cumulative_counts_are_what_counting_by_hand_gives(values: list[float]) -> None:
    bounds = (-5.0, 0.0, 0.5, 5.0)
    together, single = Histogram(bounds), Histogram(bounds)
    together.observe_all(values)
    for value in values:
        single.observe(value)
    by_hand = [sum(value <= bound for value in values) for bound in bounds]
    assert together.cumulative() == single.cumulative() == [*by_hand, len(values)]
    assert together.sum == single.sum == sum(values)

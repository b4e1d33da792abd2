"""The sizes of a lane: fewer rows and more time after time-outs, and back again."""

from __future__ import annotations

import pytest

from worker.core.delivery.request_history import RequestMoments
from worker.core.delivery.request_size import (
    ROWS_UNBOUNDED,
    SUCCESSES_TO_GROW,
    TIME_FACTOR_MAX,
    RequestSizes,
)

LANE = ("events", 1111)
OTHER = ("events", 2222)
REQUEST_SECONDS = 25.0
QUICK, SLOW = 1.0, 20.0


def attempt(started: int) -> RequestMoments:
    return RequestMoments(started, started + 1, 0)


def slowed(*rows: int) -> RequestSizes:
    """This many rows timed out, one request after the other."""
    sizes = RequestSizes(REQUEST_SECONDS)
    for number, count in enumerate(rows):
        sizes.slow_down(LANE, count, attempt(10 * number))
    return sizes


def bounds(sizes: RequestSizes) -> tuple[int, int]:
    return sizes.rows_max(LANE), sizes.time_factor(LANE)


def test_a_lane_that_nothing_is_known_of_has_no_bounds() -> None:
    assert bounds(RequestSizes(REQUEST_SECONDS)) == (ROWS_UNBOUNDED, 1)


def test_time_outs_halve_the_rows_and_the_second_allows_more_time() -> None:
    assert bounds(slowed(5000)) == (2500, 1)
    assert bounds(slowed(5000, 2500)) == (1250, 2)
    assert bounds(slowed(5000, 2500, 1250)) == (625, TIME_FACTOR_MAX)
    assert bounds(slowed(*[1] * 10)) == (1, TIME_FACTOR_MAX)


def test_requests_of_one_round_count_once() -> None:
    sizes = RequestSizes(REQUEST_SECONDS)
    assert [
        sizes.slow_down(LANE, 5000, RequestMoments(started, 100 + started, 0))
        for started in range(8)
    ] == [True] + [False] * 7
    assert bounds(sizes) == (2500, 1)


def test_where_something_was_taken_in_between_no_more_time_is_allowed() -> None:
    sizes = slowed(5000)
    sizes.speed_up(LANE, 10, QUICK)
    sizes.slow_down(LANE, 2500, attempt(50))
    assert bounds(sizes) == (1250, 1)


def test_one_lane_says_nothing_of_another() -> None:
    assert slowed(5000).rows_max(OTHER) == ROWS_UNBOUNDED


def test_a_quick_answer_to_as_many_rows_as_allowed_doubles_them_until_there_is_no_bound() -> None:
    sizes = slowed(100)
    rows = []
    while not sizes.speed_up(LANE, sizes.rows_max(LANE), QUICK):
        rows.append(sizes.rows_max(LANE))
    assert rows == [50 * 2**power for power in range(1, 11)]
    assert bounds(sizes) == (ROWS_UNBOUNDED, 1)


def test_a_small_request_says_nothing_of_large_ones() -> None:
    sizes = slowed(100)
    sizes.speed_up(LANE, 25, QUICK)
    assert sizes.rows_max(LANE) == 50


def test_a_slow_answer_shows_that_twice_the_rows_would_be_too_many() -> None:
    sizes = slowed(100)
    for _ in range(SUCCESSES_TO_GROW - 1):
        sizes.speed_up(LANE, 50, SLOW)
    assert sizes.rows_max(LANE) == 50


def test_after_many_slow_answers_more_rows_are_tried_all_the_same() -> None:
    """Where each request takes so long, however small it is, small requests would be the ruin."""
    sizes = slowed(100)
    for _ in range(SUCCESSES_TO_GROW):
        sizes.speed_up(LANE, 50, SLOW)
    assert sizes.rows_max(LANE) == 100


@pytest.mark.parametrize(
    ("seconds", "factor"), [(60.0, 4), (25.1, 4), (25.0, 2), (12.5, 1), (1.0, 1)]
)
def test_the_time_allowed_stays_at_twice_what_an_answer_took(seconds: float, factor: int) -> None:
    sizes = slowed(8, 4, 2)
    sizes.speed_up(LANE, 1, seconds)
    assert sizes.time_factor(LANE) == factor

"""The pace of a lane: fewer rows and more time after time-outs, and back again."""

from __future__ import annotations

import pytest

from worker.core.delivery.evidence import Attempt
from worker.core.delivery.pace import ROWS_UNBOUNDED, SUCCESSES_TO_GROW, TIME_FACTOR_MAX, Pace

LANE = ("events", 1111)
OTHER = ("events", 2222)
REQUEST_SECONDS = 25.0
QUICK, SLOW = 1.0, 20.0


def attempt(started: int) -> Attempt:
    return Attempt(started, started + 1, 0)


def slowed(*rows: int) -> Pace:
    """So many rows timed out, one request after the other."""
    pace = Pace(REQUEST_SECONDS)
    for number, count in enumerate(rows):
        pace.slow_down(LANE, count, attempt(10 * number))
    return pace


def bounds(pace: Pace) -> tuple[int, int]:
    return pace.rows_max(LANE), pace.time_factor(LANE)


def test_a_lane_that_nothing_is_known_of_has_no_bounds() -> None:
    assert bounds(Pace(REQUEST_SECONDS)) == (ROWS_UNBOUNDED, 1)


def test_time_outs_halve_the_rows_and_the_second_allows_more_time() -> None:
    assert bounds(slowed(5000)) == (2500, 1)
    assert bounds(slowed(5000, 2500)) == (1250, 2)
    assert bounds(slowed(5000, 2500, 1250)) == (625, TIME_FACTOR_MAX)
    assert bounds(slowed(*[1] * 10)) == (1, TIME_FACTOR_MAX)


def test_requests_of_one_round_count_once() -> None:
    pace = Pace(REQUEST_SECONDS)
    assert [
        pace.slow_down(LANE, 5000, Attempt(started, 100 + started, 0)) for started in range(8)
    ] == [True] + [False] * 7
    assert bounds(pace) == (2500, 1)


def test_where_something_was_taken_in_between_no_more_time_is_allowed() -> None:
    pace = slowed(5000)
    pace.speed_up(LANE, 10, QUICK)
    pace.slow_down(LANE, 2500, attempt(50))
    assert bounds(pace) == (1250, 1)


def test_one_lane_says_nothing_of_another() -> None:
    assert slowed(5000).rows_max(OTHER) == ROWS_UNBOUNDED


def test_a_quick_answer_to_as_many_rows_as_allowed_doubles_them_until_there_is_no_bound() -> None:
    pace = slowed(100)
    sizes = []
    while not pace.speed_up(LANE, pace.rows_max(LANE), QUICK):
        sizes.append(pace.rows_max(LANE))
    assert sizes == [50 * 2**power for power in range(1, 11)]
    assert bounds(pace) == (ROWS_UNBOUNDED, 1)


def test_a_small_request_says_nothing_of_large_ones() -> None:
    pace = slowed(100)
    pace.speed_up(LANE, 25, QUICK)
    assert pace.rows_max(LANE) == 50


def test_a_slow_answer_shows_that_twice_the_rows_would_be_too_many() -> None:
    pace = slowed(100)
    for _ in range(SUCCESSES_TO_GROW - 1):
        pace.speed_up(LANE, 50, SLOW)
    assert pace.rows_max(LANE) == 50


def test_after_many_slow_answers_more_rows_are_tried_all_the_same() -> None:
    """Where each request takes so long, however small it is, small requests would be the ruin."""
    pace = slowed(100)
    for _ in range(SUCCESSES_TO_GROW):
        pace.speed_up(LANE, 50, SLOW)
    assert pace.rows_max(LANE) == 100


@pytest.mark.parametrize(
    ("seconds", "factor"), [(60.0, 4), (25.1, 4), (25.0, 2), (12.5, 1), (1.0, 1)]
)
def test_the_time_allowed_stays_at_twice_what_an_answer_took(seconds: float, factor: int) -> None:
    pace = slowed(8, 4, 2)
    pace.speed_up(LANE, 1, seconds)
    assert pace.time_factor(LANE) == factor

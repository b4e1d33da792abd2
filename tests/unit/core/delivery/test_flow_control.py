"""The formulas of rate, wait and concurrency."""

from __future__ import annotations

from math import nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.searches import examples
from worker.core.delivery.flow_control import AdaptiveConcurrency, Backoff, Rate

# --- the wait between attempts --------------------------------------------------------------------


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


@examples(200)
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


# --- how many requests at once --------------------------------------------------------------------


def test_it_starts_at_the_setting() -> None:
    assert AdaptiveConcurrency(8).limit == 8


def test_an_overload_halves_it_once_for_all_requests_of_the_round() -> None:
    concurrency = AdaptiveConcurrency(8)
    started = concurrency.round
    for _ in range(8):
        concurrency.shrink(started)
    assert concurrency.limit == 4
    concurrency.shrink(concurrency.round)
    assert concurrency.limit == 2


def test_it_never_falls_below_one() -> None:
    concurrency = AdaptiveConcurrency(2)
    for _ in range(10):
        concurrency.shrink(concurrency.round)
    assert concurrency.limit == 1


def test_a_round_of_successes_with_the_limit_reached_makes_room_for_one_more() -> None:
    concurrency = AdaptiveConcurrency(8)
    concurrency.shrink(concurrency.round)
    for _ in range(5):
        concurrency.grow(in_flight=4)
    assert concurrency.limit == 5


def test_successes_below_the_limit_say_nothing_about_more() -> None:
    concurrency = AdaptiveConcurrency(8)
    concurrency.shrink(concurrency.round)
    for _ in range(100):
        concurrency.grow(in_flight=3)
    assert concurrency.limit == 4


@given(st.integers(1, 64), st.lists(st.booleans(), max_size=300))
def test_it_stays_between_one_and_the_setting(limit_max: int, history: list[bool]) -> None:
    concurrency = AdaptiveConcurrency(limit_max)
    for is_success in history:
        if is_success:
            concurrency.grow(in_flight=concurrency.limit)
        else:
            concurrency.shrink(concurrency.round)
        assert 1 <= concurrency.limit <= limit_max


def test_without_a_permit_nothing_could_ever_be_sent() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveConcurrency(0)


# --- how many per second --------------------------------------------------------------------------


def test_without_a_limit_it_is_always_free() -> None:
    rate = Rate(None)
    rate.take(10**9, 0.0)
    assert rate.free_at < -(10**9)


def test_a_second_s_worth_may_go_at_once() -> None:
    rate = Rate(10.0)
    taken = 0
    while rate.free_at <= 100.0:
        rate.take(1, 100.0)
        taken += 1
    assert taken == 11
    assert rate.free_at == pytest.approx(100.1)


def test_who_overdraws_lets_the_next_one_wait() -> None:
    rate = Rate(1000.0)
    rate.take(5000, 100.0)
    assert rate.free_at == 104.0


@given(st.floats(0.1, 1000), st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_the_mean_holds_over_any_history(per_second: float, sizes: list[int]) -> None:
    rate = Rate(per_second)
    now = 0.0
    for size in sizes:
        now = max(now, rate.free_at)
        rate.take(size, now)
    # All but the last were paid for when it started, up to one second's worth.
    assert sum(sizes[:-1]) <= per_second * (now + 1.0) * (1 + 1e-9)

"""The concurrency that the API bears: up by one a round, down by half a round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.delivery.concurrency import AdaptiveConcurrency


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

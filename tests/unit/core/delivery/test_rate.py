"""The token bucket: the mean holds whatever is taken at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.delivery.rate import Rate


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

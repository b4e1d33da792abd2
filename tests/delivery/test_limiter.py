"""Permits for requests in flight."""

from __future__ import annotations

import pytest

from worker.delivery.limiter import Limiter


def test_as_many_permits_are_given_as_allowed_and_each_comes_back() -> None:
    limiter = Limiter(2)
    assert (limiter.taken, limiter.is_free) == (0, True)
    limiter.take()
    limiter.take()
    assert (limiter.taken, limiter.is_free) == (2, False)
    limiter.give_back()
    assert (limiter.taken, limiter.is_free) == (1, True)


def test_a_permit_that_is_not_there_cannot_be_taken() -> None:
    limiter = Limiter(1)
    limiter.take()
    with pytest.raises(RuntimeError, match="all 1 permits are taken"):
        limiter.take()
    assert limiter.taken == 1


def test_a_permit_that_was_not_taken_cannot_be_given_back() -> None:
    with pytest.raises(RuntimeError, match="no permit is taken"):
        Limiter(1).give_back()


@pytest.mark.parametrize("requests_in_flight_max", [0, -1])
def test_without_a_permit_nothing_could_ever_be_sent(requests_in_flight_max: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Limiter(requests_in_flight_max)

"""Permits: how the three rules answer the one question, and which answer moves which rule."""

from __future__ import annotations

import pytest

from worker.core.delivery.backoff import Backoff
from worker.core.delivery.breaker import BreakerState
from worker.core.delivery.limiter import Limiter, LimiterRules, Permit
from worker.core.delivery.outcome import (
    Delivered,
    Held,
    Outcome,
    Refused,
    Retry,
    RetryKind,
    TooLarge,
)

FAILED = Retry("http_503", 0.0, RetryKind.FAILED)


def made(in_flight_max: int = 4, failures_max: int = 3, **rates: float) -> Limiter:
    return Limiter(
        LimiterRules(in_flight_max, failures_max, **rates), Backoff(1.0, 60.0, lambda: 0.5)
    )


def take_all(limiter: Limiter, at: float = 0.0) -> list[Permit]:
    permits = []
    while limiter.is_free(at):
        permits.append(limiter.take(1, at))
    return permits


def test_as_many_permits_are_given_as_allowed_and_each_comes_back() -> None:
    limiter = made(2)
    permits = take_all(limiter)
    assert (len(permits), limiter.taken, limiter.free_at()) == (2, 2, None)
    limiter.give_back(permits[0], Delivered(), 0.0)
    assert (limiter.taken, limiter.is_free(0.0)) == (1, True)


def test_a_permit_that_is_not_there_cannot_be_taken() -> None:
    limiter = made(1)
    take_all(limiter)
    with pytest.raises(RuntimeError, match="no permit is free: 1 taken"):
        limiter.take(1, 0.0)


def test_a_permit_that_was_not_taken_cannot_be_given_back() -> None:
    with pytest.raises(RuntimeError, match="no permit is taken"):
        made().give_back(Permit(0, is_probe=False), Delivered(), 0.0)


# outcome: how many may be in flight after it met a limit of 4, and whether three of it open the
# breaker
OUTCOMES: dict[str, tuple[Outcome, int, bool]] = {
    "delivered": (Delivered(), 4, False),
    "refused": (Refused(400), 4, False),
    "too large": (TooLarge(413), 4, False),
    "held": (Held("http_403"), 4, False),
    "throttled": (Retry("http_429", 0.0, RetryKind.THROTTLED), 2, False),
    "early": (Retry("http_425", 0.0, RetryKind.EARLY), 4, False),
    "failed": (FAILED, 2, True),
    "ambiguous": (Retry("connection_lost", 0.0, RetryKind.AMBIGUOUS), 2, True),
    "timed out": (Retry("timeout", 0.0, RetryKind.TIMED_OUT), 2, True),
    "not sent": (Retry("connect_failed", 0.0, RetryKind.NOT_SENT), 4, True),
}


@pytest.mark.parametrize(("outcome", "limit", "opens"), OUTCOMES.values(), ids=OUTCOMES)
def test_what_each_outcome_says_of_the_destination(
    outcome: Outcome, limit: int, opens: bool
) -> None:
    limiter = made()
    for permit in take_all(limiter)[:1]:
        limiter.give_back(permit, outcome, 0.0)
    assert limiter.limit == limit
    limiter = made()
    for permit in take_all(limiter)[:3]:
        limiter.give_back(permit, outcome, 0.0)
    assert (limiter.breaker_state is BreakerState.OPEN) == opens


def test_an_open_breaker_lets_one_request_pass_when_its_wait_is_over() -> None:
    limiter = made()
    for permit in take_all(limiter):
        limiter.give_back(permit, FAILED, 10.0)
    assert limiter.free_at() == 10.5
    assert not limiter.is_free(10.4)
    (probe,) = take_all(limiter, 10.5)
    assert (probe.is_probe, limiter.free_at()) == (True, None)
    limiter.give_back(probe, Delivered(), 11.0)
    assert len(take_all(limiter, 11.0)) == 1


def test_a_refused_row_shows_that_the_destination_is_back() -> None:
    limiter = made()
    for permit in take_all(limiter):
        limiter.give_back(permit, FAILED, 10.0)
    (probe,) = take_all(limiter, 10.5)
    limiter.give_back(probe, Refused(400), 11.0)
    assert limiter.breaker_state is BreakerState.RAMPING


def test_the_operators_rates_hold() -> None:
    limiter = made(requests_per_second_max=2.0)
    # A second's worth, and the one that finds the bucket just empty.
    assert len(take_all(limiter)) == 3
    assert limiter.free_at() == 0.5
    limiter = made(rows_per_second_max=100.0)
    limiter.take(500, 0.0)
    assert limiter.free_at() == 4.0

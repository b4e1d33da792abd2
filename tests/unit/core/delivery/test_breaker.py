"""The breaker's table: what each success and each failure does in each state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from worker.core.delivery.breaker import Breaker, BreakerState
from worker.core.delivery.flow_control import Backoff

CLOSED, OPEN, PROBING, RAMPING = BreakerState


def breaker(failures_max: int = 3) -> Breaker:
    return Breaker(
        failures_max=failures_max, permits_max=8, backoff=Backoff(1.0, 60.0, lambda: 0.5)
    )


def opened() -> Breaker:
    one = breaker()
    for _ in range(3):
        one.fail(10.0, wait_seconds_min=0.0, is_probe=False)
    return one


def probing() -> Breaker:
    one = opened()
    one.probe()
    return one


def ramping() -> Breaker:
    one = probing()
    one.succeed()
    return one


def test_failures_in_a_row_open_it_and_a_success_between_them_begins_anew() -> None:
    one = breaker()
    for _ in range(2):
        one.fail(10.0, wait_seconds_min=0.0, is_probe=False)
    one.succeed()
    for _ in range(2):
        one.fail(10.0, wait_seconds_min=0.0, is_probe=False)
    assert (one.state, one.permits) == (CLOSED, 8)
    one.fail(10.0, wait_seconds_min=0.0, is_probe=False)
    assert (one.state, one.permits, one.due_seconds) == (OPEN, 0, 10.5)


@pytest.mark.parametrize(
    ("made", "is_probe", "state"),
    [
        (breaker, False, CLOSED),
        (opened, False, OPEN),
        (probing, False, PROBING),
        (probing, True, OPEN),
        (ramping, False, OPEN),
    ],
    ids=["closed", "open, a straggler", "probing, a straggler", "probing, the probe", "ramping"],
)
def test_a_failure(made: Callable[[], Breaker], is_probe: bool, state: BreakerState) -> None:
    one = made()
    one.fail(20.0, wait_seconds_min=0.0, is_probe=is_probe)
    assert one.state is state


@pytest.mark.parametrize(
    ("made", "state", "permits"),
    [(breaker, CLOSED, 8), (opened, RAMPING, 1), (probing, RAMPING, 1), (ramping, RAMPING, 2)],
    ids=["closed", "open, a straggler", "probing", "ramping"],
)
def test_a_success(made: Callable[[], Breaker], state: BreakerState, permits: int) -> None:
    one = made()
    one.succeed()
    assert (one.state, one.permits) == (state, permits)


def test_the_ramp_doubles_after_each_round_of_successes_until_it_closes() -> None:
    one = ramping()
    permits = []
    for _ in range(7):
        permits.append(one.permits)
        one.succeed()
    assert permits == [1, 2, 2, 4, 4, 4, 4]
    assert (one.state, one.permits) == (CLOSED, 8)


def test_each_probe_that_fails_waits_longer_than_the_one_before() -> None:
    one = opened()
    waits = []
    for _ in range(4):
        one.probe()
        one.fail(100.0, wait_seconds_min=0.0, is_probe=True)
        waits.append(one.due_seconds - 100.0)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_the_probe_waits_as_long_as_the_answers_ask() -> None:
    one = opened()
    one.fail(11.0, wait_seconds_min=30.0, is_probe=False)
    assert one.due_seconds == 41.0
    one.probe()
    one.fail(41.0, wait_seconds_min=120.0, is_probe=True)
    assert one.due_seconds == 162.0, "with chance on top of what the answer asks"


def test_a_breaker_that_has_closed_forgets_how_long_it_was_open() -> None:
    one = ramping()
    for _ in range(7):
        one.succeed()
    for _ in range(3):
        one.fail(200.0, wait_seconds_min=0.0, is_probe=False)
    assert one.due_seconds == 200.5

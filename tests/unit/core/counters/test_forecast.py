"""Forecasts: when the lag is gone, when events are lost, how many workers are needed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_assignment
from worker.core.counters.forecast import (
    CAPACITY_SECONDS,
    DRAIN_SECONDS,
    OBSERVE_SECONDS,
    UTILISATION,
    WINDOW_SECONDS,
    Forecaster,
    Observation,
)

DAY = 86_400.0
AGE_MAX = 14 * DAY
PARTITIONS = frozenset(make_assignment(number) for number in range(4))


def observed(
    settled_per_second: float,
    produced_per_second: float,
    lag: int,
    *,
    is_limited: bool = False,
    age_max: float = AGE_MAX,
) -> Forecaster:
    """A forecaster after a window of these rates, at whose end the lag is this."""
    forecaster = Forecaster(age_max)
    run(forecaster, settled_per_second, produced_per_second, lag, is_limited=is_limited)
    return forecaster


def run(
    forecaster: Forecaster,
    settled_per_second: float,
    produced_per_second: float,
    lag: int,
    *,
    start: float = 0.0,
    is_limited: bool = False,
    partitions: Iterable[object] = PARTITIONS,
) -> None:
    growth = produced_per_second - settled_per_second
    for step in range(int(WINDOW_SECONDS / OBSERVE_SECONDS) + 1):
        seconds = step * OBSERVE_SECONDS
        forecaster.observe(
            Observation(
                start + seconds,
                frozenset(partitions),  # type: ignore[arg-type]
                round(settled_per_second * (start + seconds)),
                max(0, round(lag - growth * (WINDOW_SECONDS - seconds))),
                is_limited,
            )
        )


def test_rates_are_those_of_the_window() -> None:
    forecast = observed(100, 40, 30_000).forecast(None)
    assert forecast.settled_per_second == pytest.approx(100)
    assert forecast.produced_per_second == pytest.approx(40)


def test_nothing_is_known_before_rates_are_measured() -> None:
    forecaster = Forecaster(AGE_MAX)
    assert forecaster.forecast(None).desired_replicas == 1.0
    forecaster.observe(Observation(0.0, PARTITIONS, 0, 100, is_limited=False))
    forecast = forecaster.forecast(3600.0)
    assert forecast.settled_per_second is None
    assert forecast.lag_drain_seconds is None
    assert forecast.oldest_event_seconds_left == AGE_MAX - 3600
    assert forecast.loss_begins_seconds == AGE_MAX - 3600
    assert forecast.desired_replicas == 1.0


def test_a_rebalance_starts_the_measurement_again() -> None:
    forecaster = observed(100, 40, 30_000)
    others = frozenset({make_assignment(9)})
    forecaster.observe(Observation(310.0, others, 31_000, 5, is_limited=False))
    assert forecaster.forecast(None).settled_per_second is None


@pytest.mark.parametrize(
    ("settled", "produced", "lag", "seconds"),
    [
        (100, 40, 30_000, 500.0),
        (100, 100, 0, 0.0),
        (100, 100, 1000, math.inf),
        (0, 0, 1000, math.inf),
        (40, 100, 30_000, math.inf),
    ],
    ids=["falls", "none", "stays", "does not move", "grows"],
)
def test_the_lag_is_gone_when_more_is_settled_than_produced(
    settled: float, produced: float, lag: int, seconds: float
) -> None:
    forecast = observed(settled, produced, lag).forecast(None)
    assert forecast.lag_drain_seconds == pytest.approx(seconds, rel=0.01)


class TestLoss:
    def test_nothing_is_lost_while_the_lag_falls_in_time(self) -> None:
        assert observed(100, 40, 30_000).forecast(3600.0).loss_begins_seconds == math.inf

    def test_nothing_is_lost_while_nothing_waits(self) -> None:
        forecast = observed(100, 100, 0).forecast(None)
        assert (forecast.oldest_event_seconds_left, forecast.loss_begins_seconds) == (
            None,
            math.inf,
        )

    def test_while_nothing_is_settled_the_oldest_event_is_lost_first(self) -> None:
        assert observed(0, 10, 30_000).forecast(13 * DAY).loss_begins_seconds == DAY

    def test_an_event_that_is_too_old_is_lost_now(self) -> None:
        assert observed(0, 0, 10).forecast(15 * DAY).loss_begins_seconds == 0.0

    def test_a_lag_that_grows_loses_what_is_produced_later(self) -> None:
        # After t seconds a new event waits (10,000 + 10 t) / 10 seconds: 10,000 at t = 9,000.
        seconds = observed(10, 20, 10_000, age_max=10_000.0).forecast(100.0).loss_begins_seconds
        assert seconds == pytest.approx(19_000, rel=0.01)

    @given(
        st.integers(1, 100),
        st.integers(10, 20_000),
        st.integers(0, 1200),
        st.integers(100, 1000),
    )
    def test_the_formula_agrees_with_a_queue(
        self, settled: int, lag: int, age: int, age_max: int
    ) -> None:
        forecaster = Forecaster(float(age_max))
        for step in range(2):
            forecaster.observe(
                Observation(step * 100.0, PARTITIONS, step * 100 * settled, lag, is_limited=False)
            )
        forecast = forecaster.forecast(float(age)).loss_begins_seconds
        assert forecast is not None
        # Times at which events of the lag expire, in the order in which they are settled.
        queue = deque(age_max - age * (1 - place / lag) for place in range(lag))
        lost = math.inf
        for place, expires in enumerate(queue):
            if expires <= 0 or place / settled > expires:
                lost = max(0.0, min(place / settled, expires) if expires > 0 else 0.0)
                break
        if lost == math.inf:
            # Produced and settled are equal here, so what comes later waits as the last event does.
            assert forecast >= (lag - 1) / settled
        else:
            assert forecast == pytest.approx(lost, abs=1.1 + 0.01 * lost + age / lag)


class TestReplicas:
    def test_a_backlog_asks_for_more_workers(self) -> None:
        forecaster = observed(100, 40, 60_000)
        wanted = (40 / UTILISATION + 60_000 / DRAIN_SECONDS) / 100
        assert forecaster.forecast(None).desired_replicas == pytest.approx(wanted, rel=0.01)

    def test_there_are_never_more_workers_than_partitions(self) -> None:
        assert observed(1, 100, 10_000_000).forecast(None).desired_replicas == len(PARTITIONS)

    def test_a_worker_without_partitions_is_not_needed(self) -> None:
        forecaster = Forecaster(AGE_MAX)
        run(forecaster, 0, 0, 0, partitions=())
        assert forecaster.forecast(None).desired_replicas == 0.0

    def test_while_the_api_is_the_limit_no_worker_is_added(self) -> None:
        limited = observed(100, 40, 60_000, is_limited=True)
        assert limited.forecast(None).desired_replicas == 1.0

    def test_without_a_backlog_the_capacity_is_not_known_and_the_worker_stays(self) -> None:
        assert observed(10, 10, 5).forecast(None).desired_replicas == 1.0

    def test_with_a_known_capacity_a_quiet_worker_asks_for_less_than_itself(self) -> None:
        forecaster = observed(100, 40, 60_000)
        run(forecaster, 10, 10, 0, start=1000.0)
        wanted = forecaster.forecast(None).desired_replicas
        assert wanted == pytest.approx(10 / UTILISATION / 100, rel=0.05)

    def test_a_capacity_is_forgotten_after_a_while(self) -> None:
        forecaster = observed(100, 40, 60_000)
        run(forecaster, 10, 10, 0, start=CAPACITY_SECONDS + 2 * WINDOW_SECONDS)
        assert forecaster.forecast(None).desired_replicas == 1.0

    def test_the_best_capacity_counts(self) -> None:
        forecaster = observed(100, 40, 60_000)
        run(forecaster, 50, 40, 60_000, start=1000.0)
        wanted = (40 / UTILISATION + 60_000 / DRAIN_SECONDS) / 100
        assert forecaster.forecast(None).desired_replicas == pytest.approx(wanted, rel=0.05)


def test_memory_is_bounded() -> None:
    forecaster = Forecaster(AGE_MAX)
    for step in range(10_000):
        forecaster.observe(
            Observation(
                step * OBSERVE_SECONDS, PARTITIONS, 10_000_000 - step**2, 10**9, is_limited=False
            )
        )
    assert len(forecaster._observations) <= WINDOW_SECONDS / OBSERVE_SECONDS + 1
    assert len(forecaster._capacities) <= CAPACITY_SECONDS / OBSERVE_SECONDS + 1

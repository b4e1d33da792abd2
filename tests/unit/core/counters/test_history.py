"""The last 15 minutes: rates between points, bounded, from the start of the process on."""

from __future__ import annotations

from dataclasses import asdict

from tests.readings import make_counters
from worker.core.counters.history import (
    HISTORY_SECONDS,
    POINTS_MAX,
    History,
    HistoryPoint,
    Totals,
    totals_of,
)
from worker.core.counters.situation import Urgency


def point(seconds: float, received: int, lag: int | None = None) -> HistoryPoint:
    return HistoryPoint(seconds, Totals(received=received), lag, 0, Urgency.OK)


def test_rates_belong_to_the_time_between_two_points() -> None:
    history = History(100.0)
    history.observe(point(110.0, 50, lag=3))
    history.observe(point(120.0, 250))
    series = history.series(121.0)
    assert series.ages_seconds == [11.0, 1.0]
    assert series.received_per_second == [5.0, 20.0]
    assert series.lag_records == [3, None]


def test_it_remembers_fifteen_minutes_and_no_more() -> None:
    history = History(0.0)
    for number in range(1, 1000):
        history.observe(point(10.0 * number, number))
    series = history.series(9990.0)
    assert max(series.ages_seconds) <= HISTORY_SECONDS
    assert {len(values) for values in asdict(series).values()} == {POINTS_MAX - 1}


def test_the_flow_is_measured_over_ten_seconds_or_since_the_start() -> None:
    history = History(100.0)
    assert history.flow(100.0, Totals()) is None
    flow = history.flow(104.0, Totals(received=8))
    assert flow is not None
    assert (flow.measured_seconds, flow.received) == (4.0, 2.0)
    history.observe(point(110.0, 20))
    history.observe(point(120.0, 20))
    flow = history.flow(125.0, Totals(received=50))
    assert flow is not None
    assert (flow.measured_seconds, flow.received) == (15.0, 2.0)


def test_totals_are_those_of_all_topics() -> None:
    counters = make_counters()
    counters.topics["another"] = counters.topics["offline-events"]
    assert totals_of(counters) == Totals(
        received=200,
        delivered=122,
        duplicates=24,
        dead_lettered=14,
        skipped=50,
        parked=10,
        requests=51,
        requests_failed=26,
    )

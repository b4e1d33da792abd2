"""The situations: each from what it is about, the most urgent first."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.readings import make_snapshot
from worker.core.counters.diagnosis import situations, worst
from worker.core.counters.forecast import Forecast
from worker.core.counters.situation import (
    Circumstances,
    Situation,
    Urgency,
    duration_text,
    reason_text,
)
from worker.core.counters.snapshot import DestinationStatus, HoldStatus, Snapshot, ThrottleStatus
from worker.core.model.clock import ClockStatus, Trust

NOW = 1_700_000_100.0
HOUR = 3600.0


def calm(**changes: object) -> Snapshot:
    """A worker that delivers and has nothing to complain of."""
    snapshot = replace(
        make_snapshot(),
        holds=(),
        throttles=(),
        destination=DestinationStatus("closed", 8, 3),
        expiring_rows={3600: 0, 21_600: 0, 86_400: 0},
        imbalance=0,
        is_dead_letter_blocked=False,
        clock=ClockStatus(Trust.VOUCHED, 0.0),
    )
    return replace(snapshot, **changes)  # type: ignore[arg-type]


def seen(**changes: object) -> list[Situation]:
    """The situations of a calm worker with some changes, of its snapshot or of the rest."""
    circumstances = Circumstances(
        unix_seconds=NOW,
        snapshot=calm(),
        forecast=Forecast(100.0, 90.0, 5.0, 13 * 24 * HOUR, math.inf, 0.5),
        lag_records=50,
        end_age_seconds=2.0,
        not_ready_because=None,
        unreadable={},
        key_files_unusable=(),
        stop_deadline_unix_seconds=None,
        started_unix_seconds=NOW - HOUR,
    )
    own = {name: changes[name] for name in changes if hasattr(circumstances, name)}
    of_snapshot = {name: changes[name] for name in changes if name not in own}
    return situations(
        replace(circumstances, **{"snapshot": calm(**of_snapshot), **own})  # type: ignore[arg-type]
    )


HOLD = HoldStatus(1111, "http_403", NOW - 720, NOW + 30, 5231, is_parking=False)
DOWN = DestinationStatus("open", 8, 0, "http_503", NOW - 60, NOW + 4)
CASES: dict[str, tuple[dict[str, object], str, Urgency, str]] = {
    "delivering": ({}, "delivering", Urgency.OK, "Delivering"),
    "catching up": ({"lag_records": 5000}, "catching_up", Urgency.OK, "5,000 records behind"),
    "standby": ({"partitions": ()}, "standby", Urgency.OK, "no partition"),
    "stopping": ({"is_stopping": True}, "draining", Urgency.NOTICE, "Draining: 11 records left"),
    "imbalance": ({"imbalance": -1}, "imbalance", Urgency.CRITICAL, "can't explain 1 record"),
    "no dead-letter topic": (
        {"is_dead_letter_blocked": True},
        "topic_blocked",
        Urgency.CRITICAL,
        "the dead-letter topic",
    ),
    "no parking topic": (
        {"is_parking_blocked": True},
        "topic_blocked",
        Urgency.CRITICAL,
        "the parking topic",
    ),
    "a wrong clock": (
        {"clock": ClockStatus(Trust.DOUBTED, -7200.0)},
        "clock_doubted",
        Urgency.CRITICAL,
        "2 h behind the API's",
    ),
    "silent brokers": (
        {"end_age_seconds": 60.0},
        "kafka_down",
        Urgency.CRITICAL,
        "the brokers do not answer",
    ),
    "no coordinator": (
        {"not_ready_because": "the group's coordinator has not answered for 50 s"},
        "kafka_down",
        Urgency.CRITICAL,
        "coordinator",
    ),
    "API down": ({"destination": DOWN}, "api_down", Urgency.CRITICAL, "the API answers 503"),
    "API recovers": (
        {"destination": replace(DOWN, breaker="ramping")},
        "api_recovering",
        Urgency.NOTICE,
        "works again",
    ),
    "loss within a day": (
        {"expiring_rows": {3600: 0, 21_600: 2, 86_400: 3}},
        "loss_near",
        Urgency.CRITICAL,
        "3 waiting events",
    ),
    "a hold": (
        {"holds": (HOLD,)},
        "held",
        Urgency.WARNING,
        "Held: application 1111, the API refuses the key (403)",
    ),
    "a broken partition": (
        {"unreadable": {"events-4": "no leader"}},
        "partition_unreadable",
        Urgency.WARNING,
        "Partition events-4",
    ),
    "a broken key file": (
        {"key_files_unusable": (7, 8)},
        "key_file_unusable",
        Urgency.WARNING,
        "application 7 and 1 more",
    ),
    "too few workers": (
        {"forecast": Forecast(1.0, 2.0, math.inf, None, 7200.0, 3.0), "lag_records": 61},
        "falling_behind",
        Urgency.WARNING,
        "loss begins in 2 h",
    ),
    "throttled": (
        {"throttles": (ThrottleStatus(2222, "http_429", NOW - 5, 20.0, 7),)},
        "throttled",
        Urgency.NOTICE,
        "application 2222",
    ),
}


@pytest.mark.parametrize(("changes", "state", "urgency", "words"), CASES.values(), ids=list(CASES))
def test_the_headline_names_what_is_the_case(
    changes: dict[str, object], state: str, urgency: Urgency, words: str
) -> None:
    headline = seen(**changes)[0]
    assert (headline.state, headline.urgency) == (state, urgency)
    assert words in headline.title
    assert headline.consequence


def test_a_worker_that_has_not_joined_yet_is_no_outage() -> None:
    because = "it has not joined its group yet"
    young = {"started_unix_seconds": NOW - 10, "not_ready_because": because, "partitions": ()}
    headline = seen(**young)[0]
    assert (headline.state, headline.urgency) == ("joining", Urgency.WARNING)
    assert seen(**young | {"started_unix_seconds": NOW - HOUR})[0].state == "kafka_down"


def test_without_work_for_a_while_it_is_idle() -> None:
    rows = {"in_flight": 0, "batching": 0}
    assert seen(rows=rows, lag_records=0)[0].state == "idle"
    assert seen(rows=rows, lag_records=None)[0].state == "idle"
    assert seen(rows=rows | {"in_flight": 1}, lag_records=0)[0].state == "delivering"


def test_what_happens_if_nothing_is_done_is_a_time() -> None:
    forecast = Forecast(0.0, 10.0, math.inf, 13 * 24 * HOUR + HOUR, math.inf, 1.0)
    headline = seen(destination=DOWN, forecast=forecast)[0]
    assert "No event is lost for 13 d 1 h" in headline.consequence
    assert headline.since_unix_seconds == NOW - 60
    passed = replace(forecast, oldest_event_seconds_left=-1.0)
    assert "too old already" in seen(destination=DOWN, forecast=passed)[0].consequence
    unknown = Forecast(None, None, None, None, None, 1.0)
    assert "No loss is in sight" in seen(destination=DOWN, forecast=unknown)[0].consequence


def test_a_cause_hides_the_warning_about_too_few_workers() -> None:
    slow = Forecast(1.0, 2.0, math.inf, None, 7200.0, 3.0)
    states = [one.state for one in seen(forecast=slow, lag_records=500, holds=(HOLD,))]
    assert states == ["held"]


def test_before_rates_are_measured_nobody_is_told_to_add_workers() -> None:
    unmeasured = Forecast(None, None, None, 1_000_000.0, 1_000_000.0, 1.0)
    assert [one.state for one in seen(forecast=unmeasured)] == ["delivering"]


def test_rates_that_differ_by_chance_are_no_falling_behind() -> None:
    steady = Forecast(180.0, 180.2, math.inf, 1_100_000.0, 2_000_000.0, 1.0)
    assert [one.state for one in seen(forecast=steady, lag_records=400)] == ["delivering"]
    assert [one.state for one in seen(forecast=steady, lag_records=11_000)] == ["falling_behind"]


def test_the_most_urgent_comes_first_and_a_drain_before_everything() -> None:
    found = seen(holds=(HOLD,), destination=DOWN)
    assert [one.state for one in found] == ["api_down", "held"]
    found = seen(holds=(HOLD,), destination=DOWN, is_stopping=True)
    assert [one.state for one in found] == ["draining", "api_down", "held"]
    assert worst(found) is Urgency.CRITICAL
    assert worst([]) is Urgency.OK


def test_a_drain_has_its_deadline() -> None:
    headline = seen(is_stopping=True, stop_deadline_unix_seconds=NOW + 32)[0]
    assert "within 32 s" in headline.consequence


def test_a_worker_that_drains_is_not_said_to_deliver_as_well() -> None:
    assert [one.state for one in seen(is_stopping=True)] == ["draining"]


def test_a_long_text_of_a_broker_is_cut() -> None:
    headline = seen(unreadable={"events-4": "x" * 10_000})[0]
    assert len(headline.consequence) < 500


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("http_401", "the API refuses the key (401)"),
        ("http_418", "the API answers 418"),
        ("proxy_407", "the proxy answers 407"),
        ("connect_failed", "connect failed"),
        ("refused_systemically", "the API refuses nearly all rows"),
    ],
)
def test_reasons_are_words(reason: str, text: str) -> None:
    assert reason_text(reason) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3.0, "0 s"),
        (59.4, "59 s"),
        (60.0, "1 min"),
        (3599.0, "59 min"),
        (3600.0, "1 h"),
        (5400.0, "1 h 30 min"),
        (86_400.0, "1 d"),
        (100_000.0, "1 d 3 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text

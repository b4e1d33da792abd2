"""Throttled applications: an answer binds all their batches, one asks, and a ramp ends it."""

from __future__ import annotations

import pytest

from tests.builders import make_assignment, make_batch, make_destination, now_at
from tests.unit.core.delivery.dispatching import LOST, REFUSED_CONNECTION, Stage, status
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.command import Severity
from worker.core.model.record import AssignmentState

ONE, OTHER = 1111, 2222
# What chance adds to a first wait: half of the initial half second.
CHANCE = 0.25
OK = status(200)


def batches(count: int, application_id: int = ONE, name: str = "batch") -> list[Batch]:
    return [
        make_batch(
            1,
            start=number,
            batch_id=f"{name}-{number}",
            destination=make_destination(application_id),
        )
        for number in range(count)
    ]


def throttled(
    stage: Stage, count: int = 100, retry_after: str | None = "20", others: Answer = OK
) -> None:
    """The API throttles the first request of several batches of one row.

    It gives this answer to the other requests in flight.
    """
    first, *in_flight = stage.submit(*batches(count))
    (log,) = stage.answer(first, status(429, retry_after)).logs
    assert (log.event, log.severity, log.fields["application_id"]) == (
        "throttling_began",
        Severity.WARNING,
        ONE,
    )
    for batch in in_flight:
        assert stage.answer(batch, others).logs == [], "it is logged once"


def test_what_the_api_says_to_one_batch_binds_all_of_its_application() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage, others=status(429, "20"))
    assert stage.start() == []
    assert stage.start_at(20.0) == []
    assert stage.dispatcher.next_deadline() == 20.0 + CHANCE
    assert len(stage.start_at(20.0 + CHANCE)) == 1, "one asks, and not all that waited"
    assert stage.dispatcher.next_deadline() is None


def test_the_others_follow_in_a_ramp_and_one_line_says_that_it_is_over() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage)
    stage.seconds = 20.0 + CHANCE
    rounds = []
    events: list[str] = []
    while not events:
        posts = stage.start()
        rounds.append(len(posts))
        events = [log.event for batch in posts for log in stage.answer(batch, OK).logs]
    assert (rounds, events) == ([1, 1, 2, 4], ["throttling_ended"])
    assert stage.status(30).throttles == ()
    while posts := stage.start():
        for batch in posts:
            stage.answer(batch, OK)
    assert stage.status().rows_waiting == 0


def test_a_further_429_begins_a_longer_pause_without_another_line() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage)
    (probe,) = stage.start_at(20.0 + CHANCE)
    assert stage.answer(probe, status(429, "40")).logs == []
    assert stage.start_at(60.0 + CHANCE) == []
    assert stage.dispatcher.next_deadline() == pytest.approx(60.0 + CHANCE + 2 * CHANCE)


def test_without_retry_after_the_pauses_grow_as_the_backoff_does() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage, retry_after=None)
    pauses = []
    for _ in range(4):
        assert stage.start() == []
        due = stage.dispatcher.next_deadline()
        assert due is not None
        pauses.append(due - stage.seconds)
        (probe,) = stage.start_at(due)
        stage.answer(probe, status(429))
    assert pauses == [0.25, 0.5, 1.0, 2.0]


def test_another_application_goes_on_meanwhile() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage, 3)
    theirs = batches(2, OTHER, "theirs")
    assert stage.submit(*theirs) == theirs
    assert [one.application_id for one in stage.status(5).throttles] == [ONE]


def test_an_answer_to_what_was_under_way_before_the_pause_does_not_end_it() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage)
    assert stage.start_at(20.0) == []
    (probe,) = stage.start_at(20.0 + CHANCE)
    stage.answer(probe, OK)
    (next_one,) = stage.start()
    stage.answer(next_one, OK)
    first, second = stage.start()
    stage.answer(first, status(429, "20"))
    stage.answer(second, OK)
    assert stage.start_at(40.0) == []


@pytest.mark.parametrize(
    "answer", [LOST, REFUSED_CONNECTION, status(503)], ids=["lost", "not sent", "503"]
)
def test_a_question_without_an_answer_is_asked_again(answer: Answer) -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage)
    (probe,) = stage.start_at(20.0 + CHANCE)
    assert stage.answer(probe, answer).logs == []
    (again,) = stage.start_at(1000.0)
    assert [log.event for log in stage.answer(again, OK).logs] == []
    assert len(stage.start()) == 1


def test_it_is_over_where_all_that_waited_has_got_through() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage, 1)
    (probe,) = stage.start_at(20.0 + CHANCE)
    assert [log.event for log in stage.answer(probe, OK).logs] == ["throttling_ended"]


def test_rows_of_a_partition_that_leaves_do_not_wait_for_the_pause_to_end() -> None:
    stage = Stage(requests_in_flight_max=1)
    leaving = make_assignment(7)
    throttled(stage, 1)
    stage.submit(make_batch(1, batch_id="theirs", start=50, assignment=leaving))
    assert stage.status().rows_waiting == 2
    assert [
        row.record.offset for row in stage.dispatcher.waiting.take_back_waiting({leaving}).returned
    ] == [50]
    stage.states[leaving] = AssignmentState.DRAINING
    stage.dispatcher.submit([make_batch(1, batch_id="more", start=60, assignment=leaving)])
    _, settlement = stage.dispatcher.start(now_at(1))
    assert [row.record.offset for row in settlement.returned] == [60]


def test_the_probe_of_a_hold_waits_for_as_long_as_the_api_asks_too() -> None:
    stage = Stage(requests_in_flight_max=2)
    first, second = stage.submit(*batches(2))
    stage.answer(first, status(403))
    stage.answer(second, status(429, "200"))
    assert stage.start_at(200.0) == []
    assert len(stage.start_at(200.0 + CHANCE)) == 1


def test_the_status_shows_how_long_and_how_many() -> None:
    stage = Stage(requests_in_flight_max=8)
    throttled(stage, 20)
    stage.start()
    (one,) = stage.status(5).throttles
    start = now_at(0).unix_seconds
    assert (one.reason, one.since_unix_seconds, one.paused_seconds, one.rows) == (
        "http_429",
        start,
        15.0 + CHANCE,
        13,
    )

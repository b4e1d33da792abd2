"""A row that failed alone waits until another row of its application decides about it."""

from __future__ import annotations

from tests.builders import make_batch, make_row, now_at
from tests.unit.core.delivery.answering_api import OTHER
from tests.unit.core.delivery.dispatching import (
    Stage,
    offsets,
    status,
)
from worker.core.delivery.breaker import BreakerState


def test_a_row_refused_in_a_quiet_application_waits_under_a_hold_that_is_seen() -> None:
    stage = Stage()
    (batch,) = stage.submit(make_batch(1))
    assert stage.answer(batch, status(400)).refused == []
    assert stage.start() == []
    assert stage.status().rows_waiting == 1
    assert stage.dispatcher.next_deadline() == 30.0
    posts, settlement = stage.dispatcher.start(now_at(30.0))
    assert posts == []
    assert [log.fields["reason"] for log in settlement.logs] == ["refused_systemically"]
    assert stage.status().rows_waiting == 1


def test_once_something_else_is_accepted_such_a_row_is_dead_lettered() -> None:
    stage = Stage()
    (batch,) = stage.submit(make_batch(1))
    stage.answer(batch, status(400))
    stage.dispatcher.start(now_at(30.0))
    stage.seconds = 60.0
    (probe,) = stage.start()
    stage.answer(probe, status(400))
    company = make_batch(1, batch_id="company", start=5)
    stage.dispatcher.submit([company])
    assert stage.start_at(90.0) == [batch]
    stage.answer(batch, status(400))
    assert stage.start_at(120.0) == [company], "what has not asked yet asks first"
    stage.answer(company, status(200))
    (again,) = stage.start()
    assert offsets([one.row for one in stage.answer(again, status(400)).refused]) == [0]


def test_while_the_destination_itself_fails_no_application_is_held_for_a_quarantined_row() -> None:
    stage = Stage(breaker_failures_max=1, requests_in_flight_max=2)
    mine, theirs = make_batch(1), make_batch(1, batch_id="theirs", destination=OTHER)
    stage.submit(mine, theirs)
    stage.answer(mine, status(400))
    stage.answer(theirs, status(503, retry_after="1000"))
    assert stage.start_at(30.0) == []
    assert stage.status(30.0).holds == ()


def test_a_breaker_asks_with_what_has_never_failed() -> None:
    stage = Stage(breaker_failures_max=1)
    (bad,) = stage.submit(make_batch(1, batch_id="bad"))
    stage.answer(bad, status(500))
    fresh = make_batch(1, batch_id="fresh", start=5)
    stage.dispatcher.submit([fresh])
    stage.seconds = 1000.0
    assert stage.start() == [fresh]


def test_no_partition_is_named_for_a_quarantined_row_while_another_row_is_ready() -> None:
    stage = Stage(requests_in_flight_max=1)
    first, second = (
        make_batch([make_row(0)], batch_id="first"),
        make_batch([make_row(1)], batch_id="second"),
    )
    assert stage.submit(first, second) == [first]
    assert stage.result(first, status(400)).needs_records == set()
    assert stage.start() == [second]
    assert stage.result(second, status(200)).needs_records == set()
    assert stage.start() == [first]


def test_no_partition_is_named_while_another_is_in_flight_but_when_that_shows_nothing() -> None:
    stage = Stage()
    first, second = stage.submit(
        make_batch([make_row(0)], batch_id="first"), make_batch([make_row(1)], batch_id="second")
    )
    assert stage.result(first, status(400)).needs_records == set()
    # It was sent before the first was known to be refused.
    assert stage.result(second, status(200)).needs_records == {first.rows[0].assignment}
    assert stage.start() == []


def test_partitions_are_named_when_the_last_that_was_at_hand_has_decided_nothing() -> None:
    stage = Stage()
    first, second = stage.submit(
        make_batch([make_row(0)], batch_id="first"), make_batch([make_row(1)], batch_id="second")
    )
    assert stage.result(first, status(400)).needs_records == set()
    assert stage.result(second, status(500)).needs_records == {first.rows[0].assignment}


def test_two_rows_that_fail_do_not_wait_for_each_other() -> None:
    stage = Stage()
    first, second = stage.submit(
        make_batch([make_row(0)], batch_id="first"), make_batch([make_row(1)], batch_id="second")
    )
    stage.answer(first, status(500))
    stage.answer(second, status(500))
    stage.start_at(60.0)
    assert stage.result(first, status(500)).needs_records == {first.rows[0].assignment}


def test_another_application_decides_nothing() -> None:
    stage = Stage()
    mine, _ = stage.submit(
        make_batch([make_row(0)]), make_batch(1, batch_id="theirs", destination=OTHER)
    )
    assert stage.result(mine, status(400)).needs_records == {mine.rows[0].assignment}


def test_partitions_whose_rows_nothing_else_can_decide_are_named() -> None:
    stage = Stage()
    (batch,) = stage.submit(make_batch([make_row(0)]))
    assert stage.result(batch, status(500)).needs_records == set()
    (again,) = stage.start_at(60.0)
    assert stage.result(again, status(500)).needs_records == {batch.rows[0].assignment}


def test_a_row_that_has_opened_the_breaker_alone_does_not_wait_for_ever() -> None:
    stage = Stage(breaker_failures_max=2)
    (batch,) = stage.submit(make_batch([make_row(0)]))
    stage.answer(batch, status(500))
    (again,) = stage.start_at(60.0)
    assert stage.result(again, status(500)).needs_records == {batch.rows[0].assignment}
    assert stage.status().destination.breaker == BreakerState.OPEN


def test_while_the_breaker_is_open_nobody_is_asked_for_as_long_as_another_batch_may_close_it() -> (
    None
):
    stage = Stage(breaker_failures_max=3)
    first, second = stage.submit(
        make_batch([make_row(0)], batch_id="first"), make_batch([make_row(1)], batch_id="second")
    )
    stage.answer(first, status(500))
    stage.answer(second, status(500))
    stage.start_at(60.0)
    # It has failed twice and the second once: that one may be taken yet.
    assert stage.result(first, status(500)).needs_records == set()
    assert stage.status().destination.breaker == BreakerState.OPEN


def test_an_open_breaker_is_probed_with_a_piece_that_did_not_fail_by_itself() -> None:
    stage = Stage(breaker_failures_max=2)
    row, pair = make_batch([make_row(0)], batch_id="row"), make_batch(2, batch_id="pair", start=10)
    *_, company = stage.submit(row, pair, make_batch(1, batch_id="company", start=20))
    stage.answer(pair, status(500))
    stage.answer(company, status(200))
    stage.answer(row, status(500))
    assert set(stage.start_at(60.0)) == {row, pair}
    # The pair is halved, because another batch was accepted since it failed first.
    stage.answer(pair, status(500))
    stage.answer(row, status(500))
    assert stage.status().destination.breaker == BreakerState.OPEN
    (probe,) = stage.start_at(600.0)
    assert offsets(probe.rows) == [10]

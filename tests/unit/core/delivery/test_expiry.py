"""Rows that grew too old are taken out before each send."""

from __future__ import annotations

import pytest

from tests.builders import UNIX_SECONDS, make_batch, make_row, make_rows, now_at
from tests.unit.core.delivery.dispatching import (
    Stage,
    delivered_rows,
    offsets,
    refused_again,
    status,
)
from worker.core.delivery.waiting import AGE_WAIT_SECONDS
from worker.core.model.batch import Batch
from worker.core.model.clock import Trust
from worker.core.model.fault import Reason
from worker.core.model.row import Destination
from worker.core.post_api.resource import Identity

AGE_SECONDS = 1_209_600


def expired_at(seconds: float, *, batch: Batch, requests_in_flight_max: int = 4) -> Stage:
    stage = Stage(requests_in_flight_max=requests_in_flight_max)
    stage.dispatcher.submit([batch])
    stage.seconds = seconds
    return stage


def test_rows_that_grew_too_old_are_taken_out_before_a_send_and_the_rest_goes() -> None:
    rows = [*make_rows(2, event_timestamp=UNIX_SECONDS - AGE_SECONDS), *make_rows(2, start=2)]
    stage = expired_at(1.0, batch=make_batch(rows))
    posts, settlement = stage.dispatcher.start(now_at(1.0))
    assert [offsets(post.rows) for post in posts] == [[2, 3]]
    assert posts[0].id != "batch-1"
    assert posts[0].body_bytes == len(posts[0].body())
    assert [
        (one.row.record.offset, one.fault.reason, one.http_status) for one in settlement.refused
    ] == [
        (0, Reason.TOO_OLD, None),
        (1, Reason.TOO_OLD, None),
    ]
    assert settlement.refused[0].fault.field == "event_timestamp"
    assert delivered_rows(stage.answer(posts[0], status(200))) == rows[2:]


def test_a_row_exactly_at_the_age_limit_is_still_sent() -> None:
    batch = make_batch(1, event_timestamp=UNIX_SECONDS - AGE_SECONDS)
    assert expired_at(0.9, batch=batch).start() == [batch]


def test_rows_too_old_by_a_clock_that_nobody_vouches_for_wait_for_the_time_and_the_rest_goes() -> (
    None
):
    rows = [*make_rows(1, event_timestamp=UNIX_SECONDS - AGE_SECONDS), *make_rows(1, start=1)]
    stage = expired_at(1.0, batch=make_batch(rows))
    posts, settlement = stage.dispatcher.start(now_at(1.0), Trust.UNVOUCHED)
    assert [offsets(post.rows) for post in posts] == [[1]]
    assert (settlement.refused, settlement.waits_for_time, stage.status().rows_waiting) == (
        [],
        True,
        1,
    )
    assert stage.dispatcher.next_deadline() == 1.0 + AGE_WAIT_SECONDS
    posts, settlement = stage.dispatcher.start(now_at(1.0 + AGE_WAIT_SECONDS), Trust.UNVOUCHED)
    assert (posts, settlement.refused, settlement.waits_for_time) == ([], [], True)
    posts, settlement = stage.dispatcher.start(now_at(1.0 + 2 * AGE_WAIT_SECONDS), Trust.VOUCHED)
    assert (
        posts,
        [one.row.record.offset for one in settlement.refused],
        settlement.waits_for_time,
    ) == ([], [0], False)


def test_by_a_clock_that_is_contradicted_nothing_is_too_old() -> None:
    batch = make_batch(1, event_timestamp=UNIX_SECONDS - AGE_SECONDS)
    posts, settlement = expired_at(1.0, batch=batch).dispatcher.start(now_at(1.0), Trust.DOUBTED)
    assert (posts, settlement.refused, settlement.waits_for_time) == ([batch], [], False)


def test_what_waits_for_the_time_is_given_back_when_its_partition_goes() -> None:
    batch = make_batch(2, event_timestamp=UNIX_SECONDS - AGE_SECONDS)
    stage = expired_at(1.0, batch=batch)
    stage.dispatcher.start(now_at(1.0), Trust.UNVOUCHED)
    assert stage.dispatcher.waiting.take_back_waiting({batch.rows[0].assignment}).returned == list(
        batch.rows
    )
    assert stage.status().rows_waiting == 0


def test_a_profile_s_attributes_never_grow_too_old() -> None:
    destination = Destination("profiles", 1111, Identity.PROFILE_ID)
    batch = make_batch(
        [make_row(0, destination=destination, event_timestamp=UNIX_SECONDS - AGE_SECONDS)]
    )
    assert expired_at(1.0, batch=batch).start() == [batch]


def test_a_batch_wholly_too_old_is_not_sent_and_holds_no_permit() -> None:
    stage = expired_at(
        1.0,
        batch=make_batch(2, event_timestamp=UNIX_SECONDS - AGE_SECONDS),
        requests_in_flight_max=1,
    )
    other = make_batch(1, batch_id="other", start=5)
    stage.dispatcher.submit([other])
    posts, settlement = stage.dispatcher.start(now_at(1.0))
    assert (posts, len(settlement.refused), stage.status().destination.requests_in_flight) == (
        [other],
        2,
        1,
    )


def test_what_is_left_after_expiry_keeps_its_count_of_failures() -> None:
    stage = Stage()
    batch = make_batch(
        [*make_rows(1, event_timestamp=UNIX_SECONDS - AGE_SECONDS), *make_rows(1, start=1)]
    )
    stage.submit(batch)
    stage.answer(batch, status(500))
    posts, settlement = stage.dispatcher.start(now_at(5.0))
    assert len(settlement.refused) == 1
    stage.seconds = 5.0
    stage.answer(posts[0], status(500))
    assert stage.dispatcher.next_deadline() == pytest.approx(5.5)


def test_an_expired_piece_ends_its_part_of_the_bisection() -> None:
    stage = Stage(requests_in_flight_max=1)
    batch = make_batch(
        [*make_rows(1), *make_rows(1, start=1, event_timestamp=UNIX_SECONDS - AGE_SECONDS)]
    )
    stage.submit(batch)
    stage.answer(batch, status(400))
    (first,) = stage.start()
    stage.answer(first, status(400))
    posts, settlement = stage.dispatcher.start(now_at(1.0))
    assert posts == []
    assert [(one.row.record.offset, one.fault.reason) for one in settlement.refused] == [
        (1, Reason.TOO_OLD)
    ]
    stage.seconds = 1.0
    assert offsets(refused_again(stage, first)) == [0]


def test_the_oldest_event_is_found_in_flight_and_waiting() -> None:
    assert Stage().status().oldest_event_timestamp is None
    stage = Stage(requests_in_flight_max=1)
    newer, older = (
        make_batch(1, event_timestamp=UNIX_SECONDS),
        make_batch(1, batch_id="b", event_timestamp=UNIX_SECONDS - 5),
    )
    stage.submit(newer, older)
    assert stage.status().oldest_event_timestamp == UNIX_SECONDS - 5
    stage.answer(newer, status(503, retry_after="9"))
    (sent,) = stage.start()
    stage.answer(sent, status(200))
    assert stage.status().oldest_event_timestamp == UNIX_SECONDS

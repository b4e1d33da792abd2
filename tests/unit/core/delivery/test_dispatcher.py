"""Stories of the dispatcher: an answer, and what becomes of the batch."""

from __future__ import annotations

import pytest

from tests.builders import make_batch
from tests.unit.core.delivery.dispatching import (
    LOST,
    REFUSED_CONNECTION,
    Stage,
    delivered_rows,
    offsets,
    refused_again,
    status,
)
from worker.core.delivery.outcome import Delivered, Retry, RetryKind
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.fault import Reason


def test_a_delivered_batch_settles_all_its_rows_and_frees_its_permit() -> None:
    stage = Stage()
    batch = make_batch(3)
    assert stage.submit(batch) == [batch]
    assert (stage.status().destination.requests_in_flight, stage.status().rows_in_flight) == (
        1,
        3,
    )
    result = stage.result(batch, status(200))
    settlement = result.settlement
    assert (result.batch, result.outcome) == (batch, Delivered())
    assert settlement.delivered == [batch]
    assert (settlement.refused, settlement.returned, settlement.logs) == ([], [], [])
    assert (
        stage.status().destination.requests_in_flight,
        stage.status().rows_in_flight,
        stage.status().rows_waiting,
    ) == (0, 0, 0)


def test_an_answer_to_a_batch_that_is_not_in_flight_is_our_own_fault() -> None:
    stage = Stage()
    with pytest.raises(KeyError):
        stage.answer(make_batch(1), status(200))


def test_no_more_requests_are_in_flight_than_allowed_and_the_rest_follows_in_order() -> None:
    stage = Stage(requests_in_flight_max=2)
    batches = [make_batch(2, batch_id=f"b{index}", start=index * 2) for index in range(4)]
    assert stage.submit(*batches) == batches[:2]
    assert (stage.status().rows_in_flight, stage.status().rows_waiting) == (4, 4)
    assert stage.dispatcher.next_deadline() is None
    stage.answer(batches[1], status(200))
    assert stage.start() == [batches[2]]


def test_a_refused_batch_is_bisected_and_the_bad_row_is_dead_lettered_at_the_end() -> None:
    stage = Stage()
    batch = make_batch(4)
    stage.submit(batch)
    assert stage.answer(batch, status(400)).refused == []
    left, right = stage.start()
    assert offsets(left.rows) + offsets(right.rows) == [0, 1, 2, 3]
    assert stage.answer(left, status(200)).delivered == [left]
    stage.answer(right, status(422))
    third, fourth = stage.start()
    assert stage.answer(third, status(400, excerpt="bad event_name")).refused == []
    assert stage.answer(fourth, status(200)).refused == []
    assert stage.start() == [third], "it is asked again: now others have been accepted"
    (refusal,) = stage.answer(third, status(400, excerpt="bad event_name")).refused
    assert (refusal.row, refusal.http_status) == (third.rows[0], 400)
    assert refusal.fault.reason is Reason.REFUSED
    assert refusal.fault.message == "the API answered 400: bad event_name"
    assert stage.start() == []
    assert stage.status().rows_waiting == 0


def test_the_halves_of_a_refused_batch_go_before_what_was_ready() -> None:
    stage = Stage(requests_in_flight_max=1)
    batch, later = make_batch(2), make_batch(1, batch_id="later", start=10)
    stage.submit(batch, later)
    stage.answer(batch, status(400))
    (first,) = stage.start()
    stage.answer(first, status(200))
    (second,) = stage.start()
    stage.answer(second, status(200))
    assert (offsets(first.rows), offsets(second.rows), stage.start()) == ([0], [1], [later])


def test_a_batch_too_large_is_split_and_a_single_row_too_large_is_dead_lettered() -> None:
    stage = Stage()
    batch = make_batch(2)
    stage.submit(batch)
    assert stage.answer(batch, status(413)).refused == []
    first, second = stage.start()
    (refusal,) = stage.answer(first, status(413)).refused
    assert (refusal.row, refusal.http_status, refusal.fault.reason) == (
        batch.rows[0],
        413,
        Reason.TOO_LARGE_FOR_API,
    )
    assert delivered_rows(stage.answer(second, status(200))) == [batch.rows[1]]


def test_a_piece_of_a_bisection_that_is_too_large_keeps_the_bad_rows_waiting() -> None:
    stage = Stage()
    batch = make_batch(3)
    stage.submit(batch)
    stage.answer(batch, status(400))
    pair, single = stage.start()
    assert stage.answer(single, status(400)).refused == []
    assert refused_again(stage, single) == [], "the pair isn't decided yet"
    stage.answer(pair, status(413))
    first, second = stage.start()
    assert offsets([one.row for one in stage.answer(first, status(413)).refused]) == [0]
    settlement = stage.answer(second, status(200))
    assert offsets([one.row for one in settlement.refused]) == [2]


def test_a_large_row_that_is_the_last_piece_dead_letters_the_bad_rows_with_it() -> None:
    stage = Stage()
    batch = make_batch(2)
    stage.submit(batch)
    stage.answer(batch, status(400))
    first, second = stage.start()
    stage.answer(first, status(400))
    assert refused_again(stage, first) == []
    refused = stage.answer(second, status(413)).refused
    assert [(one.row.record.offset, one.fault.reason) for one in refused] == [
        (1, Reason.TOO_LARGE_FOR_API),
        (0, Reason.REFUSED),
    ]


@pytest.mark.parametrize(
    "answer", [status(503), status(429), status(408), LOST, REFUSED_CONNECTION], ids=str
)
def test_a_passing_fault_sends_the_identical_bytes_again_under_the_same_id(
    answer: Answer,
) -> None:
    stage = Stage()
    batch = make_batch(3)
    stage.submit(batch)
    body = batch.body()
    outcome = stage.result(batch, answer).outcome
    assert isinstance(outcome, Retry)
    assert (outcome.kind is RetryKind.AMBIGUOUS) == (answer is LOST)
    assert stage.start() == []
    assert stage.status().rows_waiting == 3
    deadline = stage.dispatcher.next_deadline()
    assert deadline == 0.25
    (again,) = stage.start_at(deadline)
    assert (again.id, again.body()) == (batch.id, body)


def test_the_waits_double_with_each_failure_and_a_success_forgets_them() -> None:
    stage = Stage()
    batch = make_batch(1)
    stage.submit(batch)
    waits = []
    for _ in range(9):
        began = stage.seconds
        stage.answer(batch, status(500))
        deadline = stage.dispatcher.next_deadline()
        assert deadline is not None
        waits.append(deadline - began)
        assert stage.start_at(deadline - 0.001) == []
        assert stage.start_at(deadline) == [batch]
    assert waits == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
    stage.answer(batch, status(200))
    other = make_batch(1, batch_id="other")
    stage.submit(other)
    began = stage.seconds
    stage.answer(other, status(500))
    assert stage.dispatcher.next_deadline() == pytest.approx(began + 0.25)


def test_a_retry_waits_at_least_as_long_as_the_api_asks() -> None:
    stage = Stage()
    batch = make_batch(1)
    stage.submit(batch)
    stage.answer(batch, status(429, retry_after="20"))
    assert stage.start_at(20.0) == []
    assert stage.dispatcher.next_deadline() == 20.25, "chance comes on top"
    assert stage.start_at(20.25) == [batch]


def test_a_batch_that_waits_takes_no_permit_from_others() -> None:
    stage = Stage(requests_in_flight_max=1)
    batch, other = make_batch(1), make_batch(1, batch_id="other")
    stage.submit(batch)
    stage.answer(batch, status(503, retry_after="60"))
    assert stage.submit(other) == [other]
    assert stage.dispatcher.next_deadline() is None, "no permit is free: an answer comes first"


def test_batches_whose_wait_is_over_go_in_the_order_of_their_times() -> None:
    stage = Stage(requests_in_flight_max=6)
    first, second, fresh = (make_batch(1, batch_id=name) for name in ("first", "second", "fresh"))
    stage.submit(first, second)
    stage.answer(first, status(503, retry_after="20"))
    stage.answer(second, status(503, retry_after="10"))
    stage.seconds = 30.0
    assert stage.submit(fresh) == [second, first, fresh]


class TestTheBreaker:
    def opened(self) -> tuple[Stage, list[Batch]]:
        stage = Stage(breaker_failures_max=2)
        batches = [make_batch(1, batch_id=f"b{index}", start=index) for index in range(6)]
        sent = stage.submit(*batches)
        logs = [log for batch in sent[:2] for log in stage.answer(batch, status(503)).logs]
        assert [(log.event, log.fields) for log in logs] == [
            ("breaker_opened", {"reason": "http_503"})
        ]
        return stage, batches

    def test_while_it_is_open_nothing_is_sent_and_then_one_batch_asks(self) -> None:
        stage, batches = self.opened()
        assert stage.start() == []
        due = stage.dispatcher.next_deadline()
        assert due == 0.25
        # The two that were under way fail as well: they change nothing.
        for batch in batches[2:4]:
            stage.answer(batch, status(503))
        (probe,) = stage.start_at(due)
        assert stage.start() == []
        assert stage.dispatcher.next_deadline() is None
        stage.answer(probe, REFUSED_CONNECTION)
        assert stage.start() == []
        assert stage.status().destination.breaker == "open"

    def test_when_it_heals_the_batches_follow_in_a_ramp(self) -> None:
        stage, batches = self.opened()
        for batch in batches[2:4]:
            stage.answer(batch, status(503))
        in_flight = stage.start_at(60.0)
        sizes, logs = [], []
        for _ in range(10):
            sizes.append(len(in_flight))
            for batch in in_flight:
                logs += stage.answer(batch, status(200)).logs
            in_flight = stage.start()
        assert sizes == [1, 1, 2, 2, 0, 0, 0, 0, 0, 0]
        assert stage.status().rows_waiting == 0


def test_the_search_for_bad_rows_has_a_budget_and_other_batches_pass() -> None:
    stage = Stage(requests_in_flight_max=1, bisect_requests_per_minute_max=60)
    bad = make_batch(64, batch_id="bad")
    stage.submit(bad)
    stage.answer(bad, status(400))
    sent = 0
    while pieces := stage.start():
        sent += 1
        stage.answer(pieces[0], status(400))
    # A minute's worth at once, and the one that finds the budget just used up.
    assert sent == 61
    other = make_batch(1, batch_id="other", start=1000)
    assert stage.submit(other) == [other]
    stage.answer(other, status(200))
    assert stage.start() == []
    due = stage.dispatcher.next_deadline()
    assert due == 1.0
    assert len(stage.start_at(due)) == 1

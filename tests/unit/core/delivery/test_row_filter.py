"""Stories of batches whose partitions drain or leave: which rows are given back, and when."""

from __future__ import annotations

import pytest

from tests.builders import (
    UNIX_SECONDS,
    make_assignment,
    make_batch,
    make_destination,
    make_row,
    now_at,
)
from tests.unit.core.delivery.dispatching import (
    LOST,
    Stage,
    delivered_rows,
    offsets,
    refused_again,
    status,
)
from tests.unit.core.delivery.ordered_rows import ORDERED, profile
from worker.core.delivery.settlement import Settlement
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.record import AssignmentState

STAYING, LEAVING = make_assignment(0), make_assignment(1)


def mixed(batch_id: str = "mixed", start: int = 0) -> Batch:
    """Four rows: the even offsets stay, the odd ones leave."""
    rows = [
        make_row(start + index, assignment=LEAVING if index % 2 else STAYING) for index in range(4)
    ]
    return make_batch(rows, batch_id=batch_id)


def leaving(batch_id: str = "leaving", rows: int = 2) -> Batch:
    return make_batch(rows, batch_id=batch_id, start=100, assignment=LEAVING)


def sent(stage: Stage, *batches: Batch) -> Stage:
    assert stage.submit(*batches) == list(batches)
    return stage


def returned(settlement: Settlement) -> list[int]:
    assert (settlement.delivered, settlement.refused) == ([], [])
    return offsets(settlement.returned)


@pytest.mark.parametrize("state", [AssignmentState.DRAINING, AssignmentState.RELEASED])
@pytest.mark.parametrize("answer", [status(503), LOST, status(403)], ids=["503", "timeout", "403"])
def test_rows_of_a_partition_that_leaves_do_not_wait(
    state: AssignmentState, answer: Answer
) -> None:
    stage = sent(Stage(), mixed())
    stage.states[LEAVING] = state
    assert returned(stage.answer(mixed(), answer)) == [1, 3]
    (again,) = stage.start_at(30.0)
    assert offsets(again.rows) == [0, 2]
    assert again.id != "mixed", "other bytes, so another id"
    assert again.body_bytes == len(again.body())


@pytest.mark.parametrize(
    "answer", [status(503), status(403), status(400), status(413)], ids=["503", "403", "400", "413"]
)
def test_a_batch_of_which_every_row_is_gone_is_not_sent_again(answer: Answer) -> None:
    stage = sent(Stage(), leaving())
    stage.states[LEAVING] = AssignmentState.RELEASED
    assert returned(stage.answer(leaving(), answer)) == [100, 101]
    assert stage.start_at(1000.0) == []
    assert stage.status().rows_waiting == 0


def test_a_delivery_counts_even_for_a_partition_that_is_gone() -> None:
    stage = sent(Stage(), leaving())
    stage.states[LEAVING] = AssignmentState.RELEASED
    assert offsets(delivered_rows(stage.answer(leaving(), status(200)))) == [100, 101]


def test_a_draining_partition_s_refused_rows_are_still_bisected() -> None:
    stage = sent(Stage(), leaving())
    stage.states[LEAVING] = AssignmentState.DRAINING
    stage.answer(leaving(), status(400))
    first, second = stage.start()
    stage.answer(second, status(200))
    stage.answer(first, status(400))
    assert stage.start() == [first]
    assert offsets([one.row for one in stage.answer(first, status(400)).refused]) == [100]


def test_a_quarantined_row_of_a_draining_partition_waits_for_no_later_rows() -> None:
    stage = sent(Stage(), leaving(rows=1))
    stage.states[LEAVING] = AssignmentState.DRAINING
    assert returned(stage.answer(leaving(rows=1), status(400))) == []
    assert returned(stage.dispatcher.take_back_undecided({LEAVING})) == [100]
    assert (stage.status().rows_waiting, stage.dispatcher.next_deadline()) == (0, None)


def test_a_quarantined_row_of_a_draining_partition_waits_for_its_neighbours_answer() -> None:
    bad, good = leaving(), make_batch([make_row(0, assignment=STAYING)], batch_id="good")
    stage = sent(Stage(requests_in_flight_max=2), bad)
    stage.states[LEAVING] = AssignmentState.DRAINING
    stage.answer(bad, status(400))
    first, second = stage.start()
    stage.dispatcher.submit([good])
    stage.answer(first, status(400))
    assert returned(stage.dispatcher.take_back_undecided({LEAVING})) == [], "second is in flight"
    assert offsets(delivered_rows(stage.answer(second, status(200)))) == [101]
    again = stage.start()[0]
    assert again is first
    assert offsets([one.row for one in stage.answer(again, status(400)).refused]) == [100]


def test_a_quarantined_row_of_a_partition_that_starts_to_drain_waits_for_what_is_ready() -> None:
    stage = sent(Stage(requests_in_flight_max=1), leaving(rows=1))
    ready = make_batch([make_row(0, assignment=STAYING)], batch_id="ready")
    stage.dispatcher.submit([ready])
    stage.answer(leaving(rows=1), status(400))
    assert returned(stage.dispatcher.waiting.take_back_waiting({LEAVING})) == []
    assert returned(stage.dispatcher.take_back_undecided({LEAVING})) == []
    assert stage.start() == [ready]
    stage.answer(ready, status(403))
    assert returned(stage.dispatcher.take_back_undecided({STAYING})) == []
    assert returned(stage.dispatcher.take_back_undecided({LEAVING})) == [100]


@pytest.mark.parametrize("answer", [status(403), status(429, "300")], ids=["held", "throttled"])
def test_a_quarantined_row_of_a_draining_partition_waits_for_no_lane_that_is_paused(
    answer: Answer,
) -> None:
    stage = Stage(ordered=ORDERED)
    first, *others = [
        make_batch([profile(offset, f"user-{offset}")], batch_id=f"profile-{offset}")
        for offset in range(3)
    ]
    sent(sent(stage, leaving(rows=1)), first)
    stage.dispatcher.submit(others)
    stage.answer(leaving(rows=1), status(400))
    assert returned(stage.dispatcher.take_back_undecided({LEAVING})) == []
    stage.answer(first, answer)
    assert stage.start() == []
    assert returned(stage.dispatcher.take_back_undecided({LEAVING})) == [100]


def test_a_quarantined_row_of_a_draining_partition_waits_for_no_broken_api() -> None:
    stage = Stage(breaker_failures_max=1, requests_in_flight_max=2)
    fails = make_batch([make_row(0, assignment=STAYING)], batch_id="fails")
    ready = make_batch([make_row(1, assignment=STAYING)], batch_id="ready")
    sent(stage, leaving(rows=1), fails)
    stage.answer(leaving(rows=1), status(400))
    stage.answer(fails, status(503))
    assert stage.submit(ready) == []
    assert returned(stage.dispatcher.take_back_undecided({LEAVING})) == [100]


def test_a_quarantined_row_of_a_draining_partition_puts_no_application_on_hold() -> None:
    neighbour = make_batch([make_row(0, assignment=STAYING)], batch_id="neighbour")
    stage = sent(Stage(), leaving(rows=1), neighbour)
    stage.answer(leaving(rows=1), status(400))
    stage.states[LEAVING] = AssignmentState.DRAINING
    posts, settlement = stage.dispatcher.start(now_at(30.0))
    assert (posts, returned(settlement)) == ([], [100])
    assert stage.status(30.0).holds == ()


def test_a_quarantined_row_of_a_draining_partition_needs_no_records() -> None:
    stage = sent(Stage(), leaving(rows=1))
    stage.states[LEAVING] = AssignmentState.DRAINING
    assert stage.result(leaving(rows=1), status(400)).needs_records == set()


def test_nothing_waits_in_quarantine_once_its_partition_may_not_be_sent() -> None:
    stage = sent(Stage(), leaving(), leaving("other"))
    stage.answer(leaving(), status(400))
    first, _ = stage.start()
    stage.answer(first, status(400))
    assert stage.status().rows_waiting == 1
    assert returned(stage.dispatcher.waiting.take_back({LEAVING})) == [100]
    assert stage.status().rows_waiting == 0


def test_a_refused_batch_that_lost_rows_is_sent_again_before_it_is_split() -> None:
    stage = sent(Stage(), mixed())
    stage.states[LEAVING] = AssignmentState.RELEASED
    assert returned(stage.answer(mixed(), status(400))) == [1, 3]
    (again,) = stage.start()
    assert offsets(again.rows) == [0, 2]
    assert offsets(delivered_rows(stage.answer(again, status(200)))) == [0, 2]


def test_a_batch_too_large_that_lost_rows_is_split_without_them() -> None:
    stage = sent(Stage(), mixed())
    stage.states[LEAVING] = AssignmentState.RELEASED
    assert returned(stage.answer(mixed(), status(413))) == [1, 3]
    assert [offsets(batch.rows) for batch in stage.start()] == [[0], [2]]


def test_rows_that_wait_for_an_attempt_or_a_probe_are_given_back() -> None:
    held = make_batch(
        [make_row(10, assignment=STAYING), make_row(11, assignment=LEAVING)], batch_id="held"
    )
    other = make_destination(2222)
    late = make_batch([make_row(20, assignment=LEAVING, destination=other)], batch_id="late")
    delayed = make_batch(
        [make_row(30 + i, assignment=(STAYING, LEAVING)[i], destination=other) for i in range(2)],
        batch_id="d",
    )
    stage = sent(Stage(), held, late, delayed)
    stage.answer(held, status(403))
    stage.answer(late, status(503))
    stage.answer(delayed, status(503))
    assert sorted(returned(stage.dispatcher.waiting.take_back_waiting({LEAVING}))) == [11, 20, 31]
    assert stage.status().rows_waiting == 2
    assert sorted(offset for batch in stage.start_at(30.0) for offset in offsets(batch.rows)) == [
        10,
        30,
    ]


def test_what_is_ready_may_still_be_sent_while_its_partition_drains() -> None:
    stage = Stage(requests_in_flight_max=1)
    stage.submit(make_batch(1), leaving())
    assert returned(stage.dispatcher.waiting.take_back_waiting({LEAVING})) == []
    stage.answer(make_batch(1), status(200))
    assert [batch.id for batch in stage.start()] == ["leaving"]


def test_what_is_ready_is_given_back_once_its_partition_is_gone() -> None:
    stage = Stage(requests_in_flight_max=1)
    stage.submit(make_batch(1), leaving(), mixed(start=10))
    assert returned(stage.dispatcher.waiting.take_back({LEAVING})) == [100, 101, 11, 13]
    stage.answer(make_batch(1), status(200))
    assert [offsets(batch.rows) for batch in stage.start()] == [[10, 12]]


def test_what_is_in_flight_is_not_given_back_before_its_answer() -> None:
    stage = sent(Stage(), leaving())
    assert returned(stage.dispatcher.waiting.take_back({LEAVING})) == []
    assert stage.status().rows_in_flight == 2


def test_a_retry_without_the_withdrawn_rows_keeps_its_count_of_failures() -> None:
    stage = sent(Stage(), mixed())
    stage.answer(mixed(), status(500))
    stage.dispatcher.waiting.take_back({LEAVING})
    (again,) = stage.start_at(0.25)
    stage.answer(again, status(500))
    assert stage.dispatcher.next_deadline() == 0.25 + 0.5


def test_bad_rows_that_are_not_yet_dead_lettered_are_given_back_with_their_partition() -> None:
    rows = [make_row(0, assignment=LEAVING), make_row(1, assignment=STAYING)]
    stage = sent(Stage(), make_batch(rows))
    stage.answer(make_batch(rows), status(400))
    first, second = stage.start()
    stage.answer(first, status(400))
    assert refused_again(stage, first) == [], "the other row isn't decided yet"
    assert returned(stage.dispatcher.waiting.take_back({LEAVING})) == [0]
    stage.states[LEAVING] = AssignmentState.RELEASED
    assert stage.answer(second, status(200)).refused == []


def test_taking_back_the_last_piece_of_a_bisection_dead_letters_the_bad_rows_that_stay() -> None:
    rows = [make_row(0, assignment=STAYING), make_row(1, assignment=LEAVING)]
    stage = sent(Stage(), make_batch(rows))
    stage.answer(make_batch(rows), status(400))
    first, second = stage.start()
    stage.answer(first, status(400))
    assert refused_again(stage, first) == []
    stage.answer(second, status(503))
    settlement = stage.dispatcher.waiting.take_back({LEAVING})
    assert (offsets(settlement.returned), offsets([one.row for one in settlement.refused])) == (
        [1],
        [0],
    )


def test_a_probe_that_fails_while_its_partition_leaves_is_given_back() -> None:
    stage = sent(Stage(), leaving())
    stage.answer(leaving(), status(403))
    (probe,) = stage.start_at(30.0)
    stage.states[LEAVING] = AssignmentState.RELEASED
    assert returned(stage.answer(probe, status(403))) == [100, 101]
    assert stage.status().rows_waiting == 0
    assert stage.start_at(1000.0) == []
    fresh = make_batch(1, batch_id="fresh")
    assert stage.submit(fresh) == [fresh], "a probe was overdue, and this is one"
    assert [log.event for log in stage.answer(fresh, status(200)).logs] == ["application_healed"]


def test_a_batch_that_comes_under_a_hold_while_its_partition_drains_is_given_back() -> None:
    stage = sent(Stage(), make_batch(1))
    stage.answer(make_batch(1), status(403))
    stage.states[LEAVING] = AssignmentState.DRAINING
    stage.dispatcher.submit([leaving()])
    posts, settlement = stage.dispatcher.start(now_at(1.0))
    assert posts == []
    assert returned(settlement) == [100, 101]


def test_a_heal_brings_back_only_what_is_still_there() -> None:
    stage = sent(Stage(), make_batch(1, batch_id="a"), leaving("b"), mixed("c", 10))
    for name in ("a", "b", "c"):
        stage.answer(
            {"a": make_batch(1, batch_id="a"), "b": leaving("b"), "c": mixed("c", 10)}[name],
            status(403),
        )
    stage.dispatcher.waiting.take_back({LEAVING})
    (probe,) = stage.start_at(30.0)
    stage.answer(probe, status(200))
    assert [offsets(batch.rows) for batch in stage.start()] == [[10, 12]]
    assert stage.status().oldest_event_timestamp == UNIX_SECONDS

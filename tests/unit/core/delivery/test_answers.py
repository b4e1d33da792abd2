"""Stories of answers: batches that fail, are cut off or refused, and an API that is too slow."""

from __future__ import annotations

from math import ceil, log2

import pytest

from tests.builders import make_batch
from tests.unit.core.delivery.answering_api import Api, fails_for
from tests.unit.core.delivery.dispatching import (
    LOST,
    TIMED_OUT,
    Stage,
    offsets,
    status,
)
from worker.core.model.answer import Ambiguous, Answer, Response, TransportFault
from worker.core.model.batch import Batch
from worker.core.model.fault import Reason


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (status(500, excerpt="boom"), 500),
        (LOST, None),
        (TIMED_OUT, None),
        (status(403), 403),
        (status(504), 504),
    ],
    ids=["500", "reset", "hang", "403", "504"],
)
def test_a_row_that_makes_the_api_fail_is_given_up_and_all_others_are_delivered(
    answer: Answer, code: int | None
) -> None:
    stage = Stage(requests_in_flight_max=8)
    api = Api(stage, fails_for({300}, answer))
    api.run(make_batch(1, batch_id="before", start=5000))
    api.run(
        *(make_batch(500, batch_id=f"batch-{number}", start=500 * number) for number in range(4))
    )
    (refusal,) = api.refused
    assert (refusal.row.record.offset, refusal.fault.reason, refusal.http_status) == (
        300,
        Reason.FAILS_ALONE,
        code,
    )
    assert "while other rows of its application were accepted" in refusal.fault.message
    if isinstance(answer, Response):
        assert refusal.fault.message.startswith(f"the API answered {code}")
    assert set(range(2000)) - set(api.delivered) == {300}
    assert "breaker_opened" not in api.logs
    assert "application_held" not in api.logs
    # Its neighbours are in each piece that fails, and in no more.
    assert max(count for row, count in api.sent.items() if row != 300) <= ceil(log2(500)) + 6


@pytest.mark.parametrize("requests_in_flight_max", [1, 2, 4])
def test_rows_that_get_no_answer_leave_requests_to_others(requests_in_flight_max: int) -> None:
    api = Api(
        Stage(requests_in_flight_max=requests_in_flight_max), fails_for({0, 1, 2, 3}, TIMED_OUT)
    )
    # Each attempt lasts longer than any wait between two: as soon as it has ended, all others are
    # due.
    api.seconds_of_answer = 100.0
    api.run(*(make_batch(1, batch_id=f"batch-{number}", start=number) for number in range(8)))
    assert {one.row.record.offset for one in api.refused} == {0, 1, 2, 3}
    assert {4, 5, 6, 7} <= set(api.delivered)


@pytest.mark.parametrize("bad", [{0, 1}, {10, 11, 12, 13}, set(range(0, 64, 8))], ids=str)
def test_several_rows_that_make_the_api_fail_are_all_found(bad: set[int]) -> None:
    api = Api(Stage(requests_in_flight_max=8), fails_for(bad, status(500)))
    api.run(make_batch(64))
    assert {one.row.record.offset for one in api.refused} == bad


@pytest.mark.parametrize(
    "answer", [status(500), LOST, TIMED_OUT, status(503), status(403)], ids=str
)
def test_while_nothing_is_taken_no_row_is_given_up(answer: Answer) -> None:
    api = Api(Stage(breaker_failures_max=5), lambda _: answer, stream=0)
    stage = api.stage
    stage.dispatcher.submit(
        [make_batch(4, batch_id=f"batch-{number}", start=4 * number) for number in range(4)]
    )
    for _ in range(500):
        api.turn()
    assert api.refused == []
    api.answer_for = lambda _: status(200)
    while len(api.delivered) < 16:
        api.turn()
    assert api.refused == []
    assert sorted(api.delivered) == list(range(16))


def test_a_key_that_is_revoked_while_much_is_in_flight_holds_the_application() -> None:
    stage = Stage(requests_in_flight_max=8)
    api = Api(stage, lambda _: status(200))
    api.run(make_batch(4))
    api.answer_for = lambda _: status(403)
    stage.dispatcher.submit(
        [make_batch(4, batch_id=f"batch-{number}", start=4 * number + 4) for number in range(8)]
    )
    api.turn()
    assert [hold.reason for hold in stage.status(stage.seconds).holds] == ["http_403"]
    assert "batch_suspected" not in api.logs


def test_a_single_batch_that_is_forbidden_soon_holds_its_application() -> None:
    stage = Stage()
    api = Api(stage, lambda _: status(200), stream=0)
    api.run(make_batch(4))
    api.answer_for = lambda _: status(403)
    stage.dispatcher.submit([make_batch(4, batch_id="forbidden", start=4)])
    began = stage.seconds
    while not stage.status(stage.seconds).holds:
        api.turn()
    assert stage.seconds - began < 10


def test_what_was_asked_after_a_forbidden_batch_and_is_taken_ends_the_hold() -> None:
    """At the start nothing has been accepted, and a firewall may dislike the very first batch."""
    stage = Stage()
    first, second = make_batch(1, batch_id="first"), make_batch(1, batch_id="second", start=1)
    stage.submit(first, second)
    stage.answer(first, status(403))
    assert len(stage.status(0).holds) == 1
    settlement = stage.answer(second, status(200))
    assert [log.event for log in settlement.logs] == ["application_healed"]
    assert stage.start() == [first]


CUT_OFF = Ambiguous(TransportFault.UPLOAD_RESET, 0.1)
MINUTE = 60.0
# Each loss shrinks what may be in flight; this leaves room for all pieces.
IN_FLIGHT_MAX = 256


def again(stage: Stage, *sent: Batch, answer: Answer) -> list[Batch]:
    """These are answered so; what is sent once their wait is over."""
    for batch in sent:
        settlement = stage.answer(batch, answer)
        assert (settlement.delivered, settlement.refused, settlement.returned) == ([], [], [])
    return stage.start_at(stage.seconds + MINUTE)


def test_a_batch_cut_off_once_is_sent_again_as_it_is() -> None:
    stage = Stage(requests_in_flight_max=IN_FLIGHT_MAX)
    batch = make_batch(4)
    assert again(stage, *stage.submit(batch), answer=CUT_OFF) == [batch]


def test_a_batch_cut_off_twice_goes_on_in_halves_until_they_get_through() -> None:
    stage = Stage(requests_in_flight_max=IN_FLIGHT_MAX)
    pieces = again(
        stage, *again(stage, *stage.submit(make_batch(5)), answer=CUT_OFF), answer=CUT_OFF
    )
    assert [offsets(piece.rows) for piece in pieces] == [[0, 1, 2], [3, 4]]
    assert [stage.answer(piece, status(200)).delivered for piece in pieces] == [
        [piece] for piece in pieces
    ]


def test_a_half_is_cut_off_twice_as_well_before_it_is_split() -> None:
    stage = Stage(requests_in_flight_max=IN_FLIGHT_MAX)
    halves = again(
        stage, *again(stage, *stage.submit(make_batch(4)), answer=CUT_OFF), answer=CUT_OFF
    )
    assert again(stage, *halves, answer=CUT_OFF) == halves
    assert [len(piece.rows) for piece in again(stage, *halves, answer=CUT_OFF)] == [1, 1, 1, 1]


def test_a_single_row_that_is_cut_off_waits_for_better_times() -> None:
    stage = Stage(requests_in_flight_max=IN_FLIGHT_MAX)
    sent = stage.submit(make_batch(1))
    for _ in range(20):
        sent = again(stage, *sent, answer=CUT_OFF)
    assert [offsets(batch.rows) for batch in sent] == [[0]]


def test_a_connection_lost_behind_the_body_splits_nothing() -> None:
    stage = Stage(requests_in_flight_max=IN_FLIGHT_MAX)
    batch = make_batch(4)
    sent = stage.submit(batch)
    for _ in range(5):
        sent = again(stage, *sent, answer=LOST)
    assert sent == [batch]

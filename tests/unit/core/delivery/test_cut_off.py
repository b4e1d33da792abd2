"""A body that is cut off on its way again and again is split: something between may not bear its
size, and can't say so.
"""

from __future__ import annotations

from tests.builders import make_batch
from tests.unit.core.delivery.dispatching import LOST, Stage, offsets, status
from worker.core.model.answer import Ambiguous, Answer, TransportFault
from worker.core.model.batch import Batch

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
    assert [row for piece in pieces for row in stage.answer(piece, status(200)).delivered] == [
        *make_batch(5).rows
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

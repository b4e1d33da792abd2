"""Stories of answers: batches that fail, are cut off or refused, and an API that is too slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import ceil, log2

import pytest

from tests.builders import make_batch, make_destination, make_row, now_at
from tests.unit.core.delivery.dispatching import (
    LOST,
    TIMED_OUT,
    Stage,
    delivered_rows,
    offsets,
    status,
)
from worker.core.delivery.breaker import BreakerState
from worker.core.delivery.request_size import SUCCESSES_TO_GROW
from worker.core.delivery.settlement import RefusedRow, Settlement
from worker.core.model.answer import Ambiguous, Answer, Response, TransportFault
from worker.core.model.batch import Batch
from worker.core.model.fault import Reason

OTHER = make_destination(2222)
REQUESTS_MAX = 3000


class Api:
    """Answers each batch and counts its requests; other batches arrive meanwhile."""

    def __init__(
        self, stage: Stage, answer_for: Callable[[Batch], Answer], *, stream: int = 2
    ) -> None:
        self.stage = stage
        self.answer_for = answer_for
        self.stream = stream
        self.sent: Counter[int] = Counter()
        self.delivered: list[int] = []
        self.refused: list[RefusedRow] = []
        self.logs: list[str] = []
        self.seconds_of_answer = 0.1
        self.requests = 0
        self._number = 100_000

    def run(self, *batches: Batch) -> None:
        """Until each row of these has come to its end."""
        self.stage.dispatcher.submit(batches)
        wanted = {offset for batch in batches for offset in offsets(batch.rows)}
        while wanted - set(self.delivered) - {one.row.record.offset for one in self.refused}:
            self.turn()

    def turn(self) -> None:
        """What may be sent now is sent and answered; then time goes on, and so does the stream."""
        now = now_at(self.stage.seconds)
        posts, settlement = self.stage.dispatcher.start(now)
        self.settle(settlement)
        self.stage.seconds += self.seconds_of_answer
        answers = [(batch, self.answer_for(batch)) for batch in posts]
        # What gets no answer in time ends after the others.
        for batch, answer in sorted(answers, key=lambda pair: pair[1].duration_seconds):
            self.requests += 1
            assert self.requests < REQUESTS_MAX, "it does not end"
            self.sent.update(offsets(batch.rows))
            self.settle(self.stage.answer(batch, answer))
        for _ in range(self.stream):
            self._number += 1
            self.stage.dispatcher.submit(
                [make_batch(1, batch_id=f"stream-{self._number}", start=self._number)]
            )
        deadline = self.stage.dispatcher.next_deadline()
        if not posts and deadline is not None:
            self.stage.seconds = max(self.stage.seconds, deadline)

    def settle(self, settlement: Settlement) -> None:
        self.delivered += offsets(delivered_rows(settlement))
        self.refused += settlement.refused
        self.logs += [log.event for log in settlement.logs]


def fails_for(bad: set[int], answer: Answer) -> Callable[[Batch], Answer]:
    return lambda batch: answer if bad & set(offsets(batch.rows)) else status(200)


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


# --- an API that is too slow ----------------------------------------------------------------------


class SlowApi(Api):
    """An API that takes this many seconds for each row.

    A request that takes longer than its time-out is loaded, and gets no answer.
    """

    def __init__(self, seconds_per_row: float, *, in_flight: int = 4) -> None:
        super().__init__(Stage(requests_in_flight_max=in_flight), self.answer_by_size, stream=0)
        self.seconds_per_row = seconds_per_row

    def answer_by_size(self, batch: Batch) -> Answer:
        seconds = self.seconds_per_row * len(batch.rows)
        allowed = 25.0 * self.stage.dispatcher.time_factor(batch)
        return TIMED_OUT if seconds > allowed else Response(200, None, "", seconds)


@pytest.mark.parametrize("seconds_per_row", [0.02, 0.1, 1.0, 10.0, 60.0])
def test_an_api_too_slow_for_a_batch_gets_smaller_ones_and_rows_are_sent_a_bounded_number_of_times(
    seconds_per_row: float,
) -> None:
    api = SlowApi(seconds_per_row)
    api.run(
        *(make_batch(256, batch_id=f"batch-{number}", start=256 * number) for number in range(4))
    )
    assert sorted(api.delivered) == list(range(1024))
    assert api.refused == []
    assert max(api.sent.values()) <= log2(256) + 4


def test_sizes_recover_when_the_api_is_quick_again() -> None:
    api = SlowApi(1.0)
    api.run(
        *(make_batch(256, batch_id=f"batch-{number}", start=256 * number) for number in range(4))
    )
    assert "request_size_reduced" in api.logs
    api.seconds_per_row = 0.0001
    sizes = []
    for number in range(4, 30):
        before = api.requests
        api.run(make_batch(256, batch_id=f"batch-{number}", start=256 * number))
        sizes.append(api.requests - before)
    assert sizes[-1] == 1
    assert max(sizes) <= 2 * SUCCESSES_TO_GROW


def test_a_time_out_is_retried_with_half_of_the_rows_and_the_rest_follows() -> None:
    stage = Stage(requests_in_flight_max=8)
    (batch,) = stage.submit(make_batch(5))
    stage.answer(batch, TIMED_OUT)
    first, second, third = stage.start_at(60.0)
    assert [offsets(one.rows) for one in (first, second, third)] == [[0, 1], [2, 3], [4]]


def test_a_row_that_hangs_makes_no_other_request_smaller() -> None:
    stage = Stage(requests_in_flight_max=8)
    api = Api(stage, fails_for({3}, TIMED_OUT))
    api.run(*(make_batch(8, batch_id=f"batch-{number}", start=8 * number) for number in range(60)))
    assert offsets([one.row for one in api.refused]) == [3]
    assert "request_size_reduced" not in api.logs


def test_a_probe_that_times_out_asks_with_fewer_rows_the_next_time() -> None:
    stage = Stage()
    (batch,) = stage.submit(make_batch(8))
    stage.answer(batch, status(403))
    (probe,) = stage.start_at(30.0)
    stage.answer(probe, TIMED_OUT)
    (again,) = stage.start_at(60.0)
    assert len(again.rows) == 4


# --- nothing to compare it with -------------------------------------------------------------------


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


# --- bodies that are cut off ----------------------------------------------------------------------


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

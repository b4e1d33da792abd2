"""Stories of batches that wait under a hold, and of their probes."""

from __future__ import annotations

import pytest

from tests.builders import (
    UNIX_SECONDS,
    make_batch,
    make_destination,
    make_rows,
    now_at,
)
from tests.unit.core.delivery.dispatching import LOST, Stage, delivered_rows, offsets, status
from worker.core.delivery.waiting import AGE_WAIT_SECONDS
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.clock import Trust
from worker.core.model.command import Severity
from worker.core.model.fault import Reason

AGE_SECONDS = 1_209_600
OTHER = make_destination(2222)


def held(*batches: Batch, code: int = 403, in_flight: int = 4) -> Stage:
    """A stage on which each of these batches was answered so at time 0."""
    stage = Stage(requests_in_flight_max=in_flight, systemic_rows_min=4)
    for batch in batches:
        stage.dispatcher.submit([batch])
    for batch in stage.start():
        stage.answer(batch, status(code))
    return stage


@pytest.mark.parametrize("code", [401, 403, 404, 201, 204, 301, 307, 405, 418])
def test_a_fault_that_is_not_the_rows_holds_the_application_and_drops_nothing(code: int) -> None:
    stage = Stage()
    batch = make_batch(2)
    stage.submit(batch)
    settlement = stage.answer(batch, status(code))
    assert (settlement.delivered, settlement.refused, settlement.returned) == ([], [], [])
    (log,) = settlement.logs
    assert (log.severity, log.event) == (Severity.ERROR, "application_held")
    assert log.fields == {"application_id": 1111, "reason": f"http_{code}"}
    (hold,) = stage.status(0).holds
    assert (hold.reason, hold.rows, hold.next_probe_unix_seconds) == (
        f"http_{code}",
        2,
        UNIX_SECONDS + 30,
    )
    assert stage.status().rows_waiting == 2


def test_rows_of_a_batch_that_was_forbidden_again_and_again_are_probes_one_by_one() -> None:
    stage = held(make_batch(3))
    probed = []
    for seconds in (30.0, 60.0, 90.0, 120.0):
        (probe,) = stage.start_at(seconds)
        probed.append(offsets(probe.rows))
        # A firewall dislikes the first row.
        stage.answer(probe, status(403) if 0 in offsets(probe.rows) else status(200))
    assert probed == [[0, 1, 2], [0, 1, 2], [0], [1]]
    assert stage.status().holds == ()


def test_a_held_application_waits_while_the_others_flow() -> None:
    stage = held(make_batch(1))
    mine, theirs = (
        make_batch(1, batch_id="mine"),
        make_batch(1, batch_id="theirs", destination=OTHER),
    )
    assert stage.submit(mine, theirs) == [theirs]
    assert stage.answer(theirs, status(200)).delivered == [theirs]
    assert stage.status().rows_waiting == 2


def test_a_probe_that_gets_through_heals_the_application_and_all_follow() -> None:
    stage = held(
        make_batch(3, batch_id="a"), make_batch(1, batch_id="b"), make_batch(2, batch_id="c")
    )
    assert stage.dispatcher.next_deadline() == 30.0
    assert stage.start_at(29.9) == []
    (probe,) = stage.start_at(30.0)
    assert probe.id == "b"
    assert stage.status(30.0).holds[0].rows == 6
    settlement = stage.answer(probe, status(200))
    assert settlement.delivered == [probe]
    assert [(log.severity, log.event) for log in settlement.logs] == [
        (Severity.INFO, "application_healed")
    ]
    assert [batch.id for batch in stage.start()] == ["a", "c"]
    assert stage.status(30.0).holds == ()


def test_a_probe_that_is_forbidden_again_is_logged_once_and_the_next_waits_its_time() -> None:
    stage = held(make_batch(1, batch_id="a"), make_batch(2, batch_id="b"))
    (first,) = stage.start_at(30.0)
    assert stage.answer(first, status(403)).logs == []
    assert stage.start_at(59.9) == []
    (second,) = stage.start_at(60.0)
    assert (first.id, second.id) == ("a", "b")


def test_a_probe_with_another_reason_is_logged_again() -> None:
    stage = held(make_batch(1))
    (probe,) = stage.start_at(30.0)
    (log,) = stage.answer(probe, status(404)).logs
    assert log.fields["reason"] == "http_404"


@pytest.mark.parametrize("answer", [status(503), LOST], ids=["503", "timeout"])
def test_a_probe_that_fails_in_passing_leaves_the_hold_as_it_is(answer: Answer) -> None:
    stage = held(make_batch(1))
    (probe,) = stage.start_at(30.0)
    stage.answer(probe, answer)
    assert stage.dispatcher.next_deadline() == 60.0
    assert stage.status(30.0).holds[0].reason == "http_403"


def test_a_probe_is_sent_no_sooner_than_the_api_asks() -> None:
    stage = held(make_batch(1))
    (probe,) = stage.start_at(30.0)
    stage.answer(probe, status(503, retry_after="100"))
    assert stage.start_at(129.9) == []
    assert len(stage.start_at(130.0)) == 1


def test_a_probe_whose_rows_are_refused_ends_the_hold_and_is_bisected() -> None:
    stage = held(make_batch(2, batch_id="a"), make_batch(3, batch_id="b", start=5))
    (probe,) = stage.start_at(30.0)
    settlement = stage.answer(probe, status(400))
    assert [log.event for log in settlement.logs] == ["application_healed"]
    assert [offsets(batch.rows) for batch in stage.start()] == [[0], [1], [5, 6, 7]]


def test_a_probe_that_is_too_large_ends_the_hold_and_is_split() -> None:
    stage = held(make_batch(2, batch_id="a"), make_batch(3, batch_id="b", start=5))
    (probe,) = stage.start_at(30.0)
    settlement = stage.answer(probe, status(413))
    assert [log.event for log in settlement.logs] == ["application_healed"]
    assert [offsets(batch.rows) for batch in stage.start()] == [[0], [1], [5, 6, 7]]


def test_an_answer_from_before_the_hold_does_not_end_it() -> None:
    stage = Stage()
    first, second = make_batch(1, batch_id="first"), make_batch(1, batch_id="second")
    stage.submit(first, second)
    stage.answer(second, status(403))
    assert stage.answer(first, status(200)).delivered == [first]
    assert len(stage.status(0).holds) == 1


def test_a_retry_that_comes_due_under_a_hold_waits_with_the_others() -> None:
    stage = Stage()
    first, second = make_batch(1, batch_id="first"), make_batch(1, batch_id="second")
    stage.submit(first, second)
    stage.answer(first, status(503, retry_after="10"))
    stage.answer(second, status(403))
    assert stage.start_at(10.25) == []
    assert stage.status(10.25).holds[0].rows == 2


def test_an_expired_row_is_taken_out_of_a_probe_and_the_probe_goes_on() -> None:
    rows = [*make_rows(1, event_timestamp=UNIX_SECONDS - AGE_SECONDS), *make_rows(1, start=1)]
    stage = held(make_batch(rows))
    posts, settlement = stage.dispatcher.start(now_at(30.0))
    stage.seconds = 30.0
    assert [one.fault.reason for one in settlement.refused] == [Reason.TOO_OLD]
    assert [offsets(post.rows) for post in posts] == [[1]]
    assert [log.event for log in stage.answer(posts[0], status(200)).logs] == ["application_healed"]


def test_a_probe_of_expired_rows_gives_way_to_the_next_batch_at_once() -> None:
    expired = make_batch(1, batch_id="a", event_timestamp=UNIX_SECONDS - AGE_SECONDS)
    stage = held(expired, make_batch(2, batch_id="b", start=5))
    posts, settlement = stage.dispatcher.start(now_at(30.0))
    assert len(settlement.refused) == 1
    assert [post.id for post in posts] == ["b"]


def test_a_probe_that_waits_for_the_time_gives_way_and_waits_under_the_hold_again() -> None:
    aged = make_batch(1, batch_id="a", event_timestamp=UNIX_SECONDS - AGE_SECONDS)
    stage = held(aged, make_batch(2, batch_id="b", start=5))
    posts, settlement = stage.dispatcher.start(now_at(30.0), Trust.UNVOUCHED)
    assert (settlement.refused, [post.id for post in posts]) == ([], ["b"])
    assert stage.status(30.0).holds[0].rows == 2
    assert stage.start_at(30.0 + AGE_WAIT_SECONDS) == []
    assert stage.status(35.0).holds[0].rows == 3


def systemic_stage() -> Stage:
    """Each row of a batch of four is refused, until it is clear that the rows are not the cause."""
    stage = Stage(systemic_rows_min=4, requests_in_flight_max=1)
    (batch,) = stage.submit(make_batch(4))
    for _ in range(20):
        settlement = stage.answer(batch, status(400))
        assert settlement.refused == []
        if settlement.logs:
            assert settlement.logs[0].fields["reason"] == "refused_systemically"
            return stage
        (batch,) = stage.start()
    raise AssertionError("no hold began")


def test_a_batch_refused_beyond_the_ratio_is_held_whole_and_buries_nothing() -> None:
    stage = systemic_stage()
    assert stage.start() == []
    assert stage.status().rows_waiting == 4
    (hold,) = stage.status(0).holds
    assert (hold.reason, hold.rows) == ("refused_systemically", 4)


def test_refusals_under_a_systemic_hold_do_not_bisect() -> None:
    stage = systemic_stage()
    (probe,) = stage.start_at(30.0)
    settlement = stage.answer(probe, status(400))
    assert (settlement.refused, settlement.logs) == ([], [])
    assert stage.start() == []
    assert stage.dispatcher.next_deadline() == 60.0
    assert stage.status().rows_waiting == 4


def test_a_systemic_hold_heals_like_any_other() -> None:
    stage = systemic_stage()
    (probe,) = stage.start_at(30.0)
    delivered = offsets(delivered_rows(stage.answer(probe, status(200))))
    for _ in range(4):
        for batch in stage.start():
            delivered += offsets(delivered_rows(stage.answer(batch, status(200))))
    assert sorted(delivered) == [0, 1, 2, 3]


def test_a_bad_row_does_not_keep_a_systemic_hold_from_healing() -> None:
    """One row asks at a time, and each time another row.

    Otherwise, with a bad row in every batch, no whole batch would ever be accepted.
    """
    stage = systemic_stage()
    stage.dispatcher.submit([make_batch(3, batch_id="new", start=10)])
    assert stage.start() == []
    bad = {10, 11}
    for attempt in range(1, 2 * (4 + 3)):
        (probe,) = stage.start_at(30.0 * attempt)
        assert len(probe.rows) == 1
        is_taken = probe.rows[0].record.offset == 12
        settlement = stage.answer(probe, status(200 if is_taken else 400))
        assert settlement.refused == []
        if is_taken:
            break
        bad.discard(probe.rows[0].record.offset)
    assert stage.status(stage.seconds).holds == ()
    assert stage.status().rows_waiting == 4 + 2
    assert bad == set()


def test_a_batch_in_flight_when_the_systemic_hold_begins_waits_with_the_others() -> None:
    stage = Stage(systemic_rows_min=4, requests_in_flight_max=8)
    bystander = make_batch(4, batch_id="bystander", start=10)
    stage.submit(make_batch(4), bystander)
    flying = [make_batch(4)]
    for _ in range(10):
        if stage.status(0).holds:
            break
        stage.answer(flying.pop(0), status(400))
        flying += stage.start()
    assert stage.status(0).holds[0].reason == "refused_systemically"
    assert stage.answer(bystander, status(400)).refused == []
    assert stage.start() == []
    for batch in flying:
        assert stage.answer(batch, status(400)).refused == []
    assert stage.status().rows_waiting == 8

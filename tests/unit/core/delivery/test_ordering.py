"""Ordered resources: whatever fails, no row of a profile arrives after a later one of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_assignment, make_batch, make_row, now_at
from tests.searches import examples
from tests.unit.core.delivery.dispatching import (
    LOST,
    REFUSED_CONNECTION,
    TIMED_OUT,
    Stage,
    delivered_rows,
    offsets,
    status,
)
from tests.unit.core.delivery.ordered_rows import ORDERED, PROFILES, batch_of, profile, sent, stage
from worker.core.delivery.subjects import subject_of
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.record import AssignmentState
from worker.core.model.row import Destination
from worker.core.post_api.resource import Identity


@pytest.mark.parametrize(
    ("line", "subject"),
    [
        (b"1111,ann,{}\n", b"ann"),
        (b'1111,"ann, the first",{}\n', b'"ann, the first"'),
        (b'1111,"say ""hi"", ann",1\n', b'"say ""hi"", ann"'),
        (b'1111,"""",1\n', b'""""'),
        (b'1111,ann,"a&profile_id=bob&b"\n', b"ann"),
        (b"application_id=1111&profile_id=ann&attributes=%7B%7D", b"profile_id=ann"),
    ],
)
def test_the_subject_of_a_row_is_read_from_its_line(line: bytes, subject: bytes) -> None:
    row = make_row(destination=PROFILES, line=line)
    assert subject_of(row) == ("profile_id", subject)


def test_a_lane_has_one_request_in_flight_and_its_batches_follow_in_order() -> None:
    one = stage()
    assert sent(one.submit(batch_of(0, "a"), batch_of(1, "b"), batch_of(2, "a"))) == [[0]]
    assert one.dispatcher.next_deadline() is None
    one.answer(batch_of(0, "a"), status(200))
    assert sent(one.start()) == [[1]]
    one.answer(batch_of(1, "b"), status(200))
    assert sent(one.start()) == [[2]]


def test_other_applications_and_resources_go_on_meanwhile() -> None:
    one = stage()
    other = make_batch(
        [make_row(5, destination=Destination("profiles", 2222, Identity.PROFILE_ID))],
        batch_id="other",
    )
    event = make_batch(1, batch_id="event", start=6)
    posts = one.submit(batch_of(0, "a"), batch_of(1, "b"), other, event)
    assert sorted(offset for batch in posts for offset in offsets(batch.rows)) == [0, 5, 6]


def test_lanes_and_other_batches_take_turns() -> None:
    one = Stage(ordered=ORDERED, requests_in_flight_max=1)
    events = [make_batch(1, batch_id=f"event-{number}", start=100 + number) for number in range(3)]
    order = []
    posts = one.submit(*events, batch_of(0, "a"), batch_of(1, "b"))
    for _ in range(5):
        order += sent(posts)
        one.answer(posts[0], status(200))
        posts = one.start()
    assert order == [[0], [100], [1], [101], [102]]


@pytest.mark.parametrize(
    "answer", [status(503), status(429), LOST, REFUSED_CONNECTION, status(408)], ids=str
)
def test_a_retry_goes_before_anything_newer(answer: Answer) -> None:
    one = stage()
    one.submit(batch_of(0, "a"), batch_of(1, "b"))
    one.answer(batch_of(0, "a"), answer)
    assert one.start() == []
    deadline = one.dispatcher.next_deadline()
    assert deadline is not None
    assert deadline > 0
    assert sent(one.start_at(deadline)) == [[0]]


def test_without_an_order_a_newer_batch_passes_the_retry() -> None:
    one = Stage(requests_in_flight_max=8)
    assert sent(one.submit(batch_of(0, "a"), batch_of(1, "a"))) == [[0], [1]]


def test_the_pieces_of_a_refused_batch_are_sent_left_to_right() -> None:
    one = stage()
    batch = batch_of(0, "a", "b", "c", "d")
    one.submit(batch, batch_of(4, "a"))
    posts, order = [batch], []
    while posts:
        (piece,) = posts
        order.append(offsets(piece.rows))
        one.answer(piece, status(400 if 3 in offsets(piece.rows) else 200))
        posts = one.start()
    assert order == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3], [4]]


def test_a_batch_split_for_its_size_goes_on_left_to_right_after_its_wait() -> None:
    one = stage()
    batch = batch_of(0, "a", "a", "a")
    one.submit(batch)
    one.answer(batch, TIMED_OUT)
    (first,) = one.start_at(60.0)
    assert offsets(first.rows) == [0]
    one.answer(first, status(200))
    assert sent(one.start()) == [[1, 2]]


def test_rows_of_other_profiles_pass_a_row_that_was_refused_alone_and_its_own_wait() -> None:
    one = stage()
    one.submit(batch_of(0, "a"), batch_of(1, "a", "b", "a"), batch_of(4, "a"))
    one.answer(batch_of(0, "a"), status(400))
    (others,) = one.start()
    assert offsets(others.rows) == [2]
    one.answer(others, status(200))
    (again,) = one.start()
    assert offsets(again.rows) == [0]
    assert offsets([row.row for row in one.answer(again, status(400)).refused]) == [0]
    (rest,) = one.start()
    assert offsets(rest.rows) == [1, 3]
    one.answer(rest, status(200))
    assert sent(one.start()) == [[4]]


def test_a_bad_row_is_given_up_as_soon_as_a_newer_row_of_its_profile_is_accepted() -> None:
    lane = Stage(ordered=ORDERED, requests_in_flight_max=1, systemic_rows_min=8)
    event = make_batch(1, batch_id="event", start=100)
    posts = lane.submit(batch_of(0, *"aabcdefg"))
    loaded, given_up = [], []
    while posts:
        (post,) = posts
        # For a time the API refuses every profile but the newer row of the first one.
        is_accepted = offsets(post.rows) in ([1], [100]) or lane.seconds > 600.0
        settlement = lane.answer(post, status(200 if is_accepted else 400))
        loaded += offsets(delivered_rows(settlement))
        given_up += offsets([refused.row for refused in settlement.refused])
        if offsets(post.rows) == [0] and not loaded:
            lane.dispatcher.submit([event])
        deadline = lane.dispatcher.next_deadline()
        posts = lane.start_at(lane.seconds if deadline is None else max(deadline, lane.seconds))
    assert loaded[:2] == [100, 1]
    assert (given_up, sorted(loaded[2:])) == ([0], [2, 3, 4, 5, 6, 7])


def test_a_row_that_makes_the_api_fail_does_not_stop_its_lane() -> None:
    one = stage()
    posts = one.submit(batch_of(0, "a"))
    given_up: list[int] = []
    loaded: list[int] = []
    for number in range(1, 121, 2):
        one.dispatcher.submit([batch_of(number, "b", "a")])
        for batch in posts:
            settlement = one.answer(batch, status(500 if 0 in offsets(batch.rows) else 200))
            given_up += offsets([row.row for row in settlement.refused])
            loaded += offsets(delivered_rows(settlement))
        posts = one.start_at(one.seconds + 10.0)
        assert given_up or all(offset % 2 for offset in loaded), "of a nothing passes"
    assert given_up == [0]
    assert [offset for offset in loaded if offset % 2] == list(range(1, len(loaded), 2))
    assert sorted(loaded) == list(range(1, len(loaded) + 1))


def test_a_batch_that_fails_with_rows_of_all_subjects_and_nothing_else_is_halved() -> None:
    lane = stage()
    batch = batch_of(0, "ann", "bob", "cid", "dan")
    lane.dispatcher.submit([batch, batch_of(4, "ann", "bob", "cid", "dan")])
    delivered: list[int] = []
    for _ in range(200):
        posts, _ = lane.dispatcher.start(now_at(lane.seconds))
        lane.seconds += 1
        for post in posts:
            answer = LOST if 2 in offsets(post.rows) else status(200)
            delivered += offsets(delivered_rows(lane.answer(post, answer)))
        deadline = lane.dispatcher.next_deadline()
        lane.seconds = max(lane.seconds, deadline if deadline is not None else 0.0)
    # All but the row that makes the API fail, and the row that waits behind it.
    assert sorted(delivered) == [0, 1, 3, 4, 5, 7]


@pytest.mark.parametrize(
    ("behind", "is_in_need"),
    [
        pytest.param("a", True, id="nothing else may be sent"),
        pytest.param("b", False, id="another profile may be accepted yet"),
    ],
)
def test_rows_behind_a_failing_row_of_their_profile_can_not_close_the_breaker(
    behind: str, is_in_need: bool
) -> None:
    lane = Stage(ordered=ORDERED, requests_in_flight_max=8, breaker_failures_max=2)
    failing, waiting = batch_of(0, "a"), batch_of(1, "a", behind)
    lane.submit(failing, waiting)
    assert lane.result(failing, status(500)).needs_records == set()
    assert sent(lane.start_at(60.0)) == [[0]]
    needs_records = lane.result(failing, status(500)).needs_records
    assert needs_records == ({failing.rows[0].assignment} if is_in_need else set())


def test_under_a_hold_profiles_are_the_probe_in_turn_each_with_its_oldest_row() -> None:
    one = stage()
    one.submit(batch_of(0, "a"), batch_of(1, "a", "b"), batch_of(3, "a"))
    one.answer(batch_of(0, "a"), status(403))
    assert one.start() == []
    order = []
    for number in range(1, 4):
        (probe,) = one.start_at(30.0 * number)
        order.append(offsets(probe.rows))
        one.answer(probe, status(403))
    assert order == [[2], [0], [2]]
    (probe,) = one.start_at(120.0)
    assert offsets(probe.rows) == [0]
    one.answer(probe, status(200))
    assert sent(one.start()) == [[1]], "what was a probe in vain goes later"


def drained(lane: Stage, batch: Batch) -> list[list[int]]:
    """The offsets of each request, this batch's first, while the API accepts everything."""
    order, posts = [], [batch]
    while posts:
        (post,) = posts
        order.append(offsets(post.rows))
        lane.answer(post, status(200))
        posts = lane.start()
    return order


def test_a_row_that_enters_late_goes_before_the_newer_rows_of_its_profile_alone() -> None:
    lane, first = stage(), batch_of(0, "a")
    lane.submit(first, batch_of(1, "b", "a"), batch_of(4, "b", "a", "b"), batch_of(7, "a"))
    lane.dispatcher.waiting.insert(batch_of(3, "b"))
    assert drained(lane, first) == [[0], [1, 2], [5], [3], [4, 6], [7]]


def test_rows_that_enter_late_together_are_merged_with_those_that_wait() -> None:
    lane, first = stage(), batch_of(0, "a")
    late = make_batch([profile(offset, "a") for offset in (1, 3, 7)], batch_id="late")
    lane.submit(first, make_batch([profile(2, "a"), profile(4, "a")], batch_id="even"))
    lane.dispatcher.waiting.insert(late)
    assert drained(lane, first) == [[0], [1], [2], [3], [4], [7]]


def test_a_row_that_enters_late_with_others_stays_behind_the_older_rows_of_its_own_profile() -> (
    None
):
    lane, first = stage(), batch_of(0, "a")
    lane.submit(first, batch_of(2, "b"), batch_of(8, "c"))
    lane.dispatcher.waiting.insert(
        make_batch([profile(1, "b"), profile(9, "c"), profile(3, "d")], batch_id="late")
    )
    assert drained(lane, first) == [[0], [1, 3], [2], [8], [9]]


@examples(200)
@given(st.integers(0, 2**32))
def test_rows_that_enter_late_keep_the_order_of_each_profile(seed: int) -> None:
    random, lane, first = Random(seed), stage(), batch_of(0, "z")
    rows = [profile(offset, random.choice("abcd")) for offset in range(1, 30)]
    late = {row.record.offset for row in rows if random.random() < 0.3}
    waiting = [row for row in rows if row.record.offset not in late]
    # Within a lane only the rows of one profile are in order.
    ranks = {subject: random.choice((0, 0, 1)) for subject in "abcd"}
    waiting.sort(key=lambda row: (ranks[subject_of(row)[1].decode()], row.record.offset))
    lane.submit(first)
    while waiting:
        count = random.randint(1, 4)
        batch, waiting = waiting[:count], waiting[count:]
        lane.submit(make_batch(batch, batch_id=f"batch-{batch[0].record.offset}"))
    entering = [row for row in rows if row.record.offset in late]
    if entering:
        lane.dispatcher.waiting.insert(make_batch(entering, batch_id="late"))
    subjects = {row.record.offset: subject_of(row) for row in rows}
    order = [offset for offsets_sent in drained(lane, first)[1:] for offset in offsets_sent]
    assert sorted(order) == [row.record.offset for row in rows]
    for subject in set(subjects.values()):
        of_subject = [offset for offset in order if subjects[offset] == subject]
        assert of_subject == sorted(of_subject)


def test_a_row_that_enters_late_goes_behind_rows_with_which_it_has_no_order() -> None:
    lane, first = stage(), batch_of(0, "a")
    other = make_batch([profile(9, "b", make_assignment(1))], batch_id="other partition")
    lane.submit(first, other, batch_of(4, "a"))
    lane.dispatcher.waiting.insert(batch_of(1, "b"))
    assert drained(lane, first) == [[0], [9], [4], [1]]


def test_without_an_order_a_batch_that_enters_late_is_the_last() -> None:
    lane = Stage(requests_in_flight_max=1)
    lane.submit(batch_of(0, "a"), batch_of(5, "b"))
    lane.dispatcher.waiting.insert(batch_of(3, "b"))
    assert drained(lane, batch_of(0, "a")) == [[0], [5], [3]]


def test_a_row_behind_a_linked_row_is_not_sent_and_no_candidate_until_that_is_unlinked() -> None:
    lane, first, linked = stage(), batch_of(0, "a"), profile(1, "b")
    lane.submit(first)
    lane.dispatcher.waiting.ordered.link([linked])
    lane.submit(batch_of(2, "b"), make_batch([profile(0, "b", make_assignment(1))], batch_id="p1"))
    assert sent(list(lane.dispatcher.waiting.candidates())) == [[0]]
    lane.answer(first, status(200))
    (other_partition,) = lane.start()
    assert other_partition.id == "p1"
    lane.answer(other_partition, status(200))
    assert (lane.start(), lane.dispatcher.next_deadline()) == ([], None)
    lane.dispatcher.waiting.ordered.unlink([linked])
    assert sent(list(lane.dispatcher.waiting.candidates())) == [[2]]
    assert sent(lane.start()) == [[2]]


@pytest.mark.parametrize("answer", [status(503), status(400), status(403), None], ids=str)
def test_a_lane_gives_back_all_that_waits_of_a_partition_that_drains(
    answer: Answer | None,
) -> None:
    one = stage()
    batch = batch_of(0, "a", "b")
    one.submit(batch, batch_of(2, "a"))
    one.states[make_assignment()] = AssignmentState.DRAINING
    returned = one.dispatcher.waiting.take_back_waiting({make_assignment()}).returned
    assert offsets(returned) == [2]
    if answer is not None:
        assert offsets(one.answer(batch, answer).returned) == [0, 1]
    assert one.start_at(1000.0) == []


def test_a_quarantined_row_of_a_lane_does_not_wait_for_others_while_its_partition_drains() -> None:
    one, bad = stage(), batch_of(0, "a")
    of_other_partition = make_batch([profile(9, "z", make_assignment(1))], batch_id="other")
    one.submit(bad, of_other_partition)
    one.answer(bad, status(400))
    assert one.start() == [of_other_partition]
    one.states[make_assignment()] = AssignmentState.DRAINING
    returned = one.dispatcher.waiting.take_back_waiting({make_assignment()}).returned
    assert offsets(returned) == [0]

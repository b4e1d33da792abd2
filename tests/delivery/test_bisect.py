"""Bisection: the guilty rows are found, nothing is buried early, and a batch that is wholly bad is not the rows' fault."""

from __future__ import annotations

from collections import deque
from math import log2
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import make_batch, make_destination
from worker.delivery.bisect import Bisections
from worker.delivery.settlement import Refusal
from worker.model.batch import Batch
from worker.model.fault import FieldFault, Reason


def refusal_of(batch: Batch) -> Refusal:
    return Refusal(batch.rows[0], FieldFault(Reason.REFUSED, "", "the API answered 400"), 400)


def make_bisections(systemic_ratio: float = 1.0, systemic_rows_min: int = 10**6) -> Bisections:
    return Bisections(systemic_ratio=systemic_ratio, systemic_rows_min=systemic_rows_min)


class Api:
    """Refuses every batch that holds a guilty row, and counts. `run` plays one batch to its end, or to the hold."""

    def __init__(self, bisections: Bisections, guilty: set[int]) -> None:
        self.bisections = bisections
        self.guilty = guilty
        self.requests = 0
        self.delivered: list[int] = []
        self.buried: list[int] = []
        self.systemic: Batch | None = None
        self.left: deque[Batch] = deque()

    def run(self, batch: Batch) -> None:
        self.left.append(batch)
        for _ in range(4 * len(batch.rows) + 1):
            if not self.left or self.systemic is not None:
                return
            self.send(self.left.popleft())
        raise AssertionError("the bisection does not end")

    def send(self, batch: Batch) -> None:
        self.requests += 1
        if not self.guilty & {row.record.offset for row in batch.rows}:
            self.delivered += [row.record.offset for row in batch.rows]
            self.bury(self.bisections.deliver(batch))
            return
        verdict = self.bisections.refuse(batch, refusal_of(batch))
        assert not (verdict.pieces and verdict.guilty)
        self.left.extendleft(reversed(verdict.pieces))
        self.bury(verdict.guilty)
        self.systemic = verdict.systemic

    def bury(self, refusals: tuple[Refusal, ...]) -> None:
        assert not (refusals and self.left), "buried before the whole batch was known"
        self.buried += [refusal.row.record.offset for refusal in refusals]


@pytest.mark.parametrize("guilty", [{0}, {63}, {31, 32}, {0, 21, 42, 63}, set(range(0, 64, 4)), set(range(64))], ids=len)
def test_the_guilty_rows_are_found_within_the_promised_number_of_requests(guilty: set[int]) -> None:
    api = Api(make_bisections(), guilty)
    api.run(make_batch(64))
    assert sorted(api.buried) == sorted(guilty)
    assert sorted(api.delivered) == sorted(set(range(64)) - guilty)
    assert api.requests <= 2 * len(guilty) * log2(64 / len(guilty)) + 2 * len(guilty) + 1


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 200).flatmap(lambda rows: st.tuples(st.just(rows), st.sets(st.integers(0, rows - 1), min_size=1))))
def test_every_row_is_judged_once_whatever_the_guilty_ones_are(case: tuple[int, set[int]]) -> None:
    rows, guilty = case
    api = Api(make_bisections(), guilty)
    api.run(make_batch(rows))
    assert sorted(api.buried) == sorted(guilty)
    assert sorted(api.delivered) == sorted(set(range(rows)) - guilty)
    # An odd batch has one deeper leaf; hence the rows are counted up to the next power of two.
    whole = 2 ** (rows - 1).bit_length()
    assert api.requests <= 2 * len(guilty) * log2(whole / len(guilty)) + 2 * len(guilty) + 1


def test_both_halves_are_always_sent() -> None:
    bisections = make_bisections()
    batch = make_batch(4)
    verdict = bisections.refuse(batch, refusal_of(batch))
    assert [len(piece.rows) for piece in verdict.pieces] == [2, 2]
    assert verdict.pieces[0].rows + verdict.pieces[1].rows == batch.rows
    assert (verdict.guilty, verdict.systemic) == ((), None)


def test_a_single_refused_row_is_guilty_at_once() -> None:
    batch = make_batch(1)
    assert make_bisections().refuse(batch, refusal_of(batch)).guilty == (refusal_of(batch),)


def test_guilty_rows_wait_for_the_last_piece_of_their_batch() -> None:
    bisections = make_bisections()
    batch = make_batch(2)
    first, second = bisections.refuse(batch, refusal_of(batch)).pieces
    assert bisections.refuse(first, refusal_of(first)).guilty == ()
    assert bisections.end(second.id) == (refusal_of(first),)


@pytest.mark.parametrize(
    ("guilty", "is_systemic"), [(10, False), (11, True), (20, True)], ids=["exactly the ratio", "one above", "all"]
)
def test_above_the_ratio_the_rows_are_not_at_fault(guilty: int, is_systemic: bool) -> None:
    api = Api(make_bisections(0.5, 20), set(range(guilty)))
    api.run(make_batch(20))
    assert (api.systemic is not None) == is_systemic
    assert (not api.buried) == is_systemic
    if api.systemic is not None:
        assert [row.record.offset for row in api.systemic.rows] == list(range(11))
        assert api.systemic.body_bytes == len(api.systemic.body())
        held = {row.record.offset for row in api.systemic.rows}
        left = {row.record.offset for batch in api.left for row in batch.rows}
        assert held | left | set(api.delivered) == set(range(20))


def test_a_small_batch_says_nothing_about_the_system() -> None:
    api = Api(make_bisections(0.5, 20), set(range(19)))
    api.run(make_batch(19))
    assert len(api.buried) == 19


def in_a_row(api: Api, sizes: list[int], **changes: Any) -> list[int]:
    """Play small batches one after the other, rows numbered on; how many rows had been buried after each, until the hold."""
    buried, start = [], 0
    for number, size in enumerate(sizes):
        if api.systemic is None:
            api.run(make_batch(size, batch_id=f"batch-{number}", start=start, **changes))
            buried.append(len(api.buried))
        start += size
    return buried


@pytest.mark.parametrize("sizes", [[1] * 30, [4] * 8, [19, 1, 1], [7, 7, 7]], ids=str)
def test_small_batches_in_a_row_of_which_no_row_was_taken_are_not_the_rows_fault(sizes: list[int]) -> None:
    api = Api(make_bisections(0.5, 20), set(range(100)))
    in_a_row(api, sizes)
    assert api.systemic is not None
    assert len(api.buried) < 20
    assert sorted(api.buried + [row.record.offset for row in api.systemic.rows]) == list(
        range(len(api.buried) + len(api.systemic.rows))
    )


def test_one_row_that_was_taken_shows_that_the_others_were_at_fault() -> None:
    api = Api(make_bisections(0.5, 20), set(range(100)) - {15})
    assert in_a_row(api, [1] * 35) == [*range(1, 16), *range(15, 35)]
    assert api.systemic is None


def test_a_small_batch_of_which_a_row_was_taken_does_not_count() -> None:
    api = Api(make_bisections(0.5, 20), set(range(100)) - {3, 7, 11, 15, 19, 23, 27, 31})
    in_a_row(api, [4] * 8)
    assert api.systemic is None
    assert len(api.buried) == 24


def test_another_application_s_rows_prove_nothing() -> None:
    api = Api(make_bisections(0.5, 20), set(range(100)))
    in_a_row(api, [1] * 19)
    in_a_row(api, [1], destination=make_destination(2222))
    assert api.systemic is None
    assert len(api.buried) == 20


def test_after_a_systemic_fault_the_pieces_under_way_are_batches_of_their_own() -> None:
    bisections = make_bisections(0.5, 2)
    api = Api(bisections, {0, 1, 2, 3})
    api.run(make_batch(4))
    assert api.systemic is not None
    assert [bisections.end(piece.id) for piece in api.left] == [()] * len(api.left)
    again = bisections.refuse(api.systemic, refusal_of(api.systemic))
    assert len(again.pieces) == 2


def test_two_batches_are_taken_apart_independently() -> None:
    bisections = make_bisections()
    one, other = make_batch(2, batch_id="one"), make_batch(2, batch_id="other", start=10)
    first, second = bisections.refuse(one, refusal_of(one)).pieces
    third, fourth = bisections.refuse(other, refusal_of(other)).pieces
    bisections.refuse(first, refusal_of(first))
    bisections.refuse(third, refusal_of(third))
    assert bisections.end(second.id) == (refusal_of(first),)
    assert bisections.end(fourth.id) == (refusal_of(third),)


def test_a_piece_goes_on_as_its_successors() -> None:
    bisections = make_bisections()
    batch = make_batch(3)
    first, second = bisections.refuse(batch, refusal_of(batch)).pieces
    guilty = bisections.refuse(second, refusal_of(second))
    assert guilty.guilty == ()
    left, right = make_batch(first.rows[:1], batch_id="l"), make_batch(first.rows[1:], batch_id="r")
    bisections.replace(first.id, left, right)
    assert bisections.end(left.id) == ()
    assert bisections.end(right.id) == (refusal_of(second),)


def test_a_batch_that_is_not_taken_apart_has_nothing_to_end_or_replace() -> None:
    bisections = make_bisections()
    bisections.replace("unknown", make_batch(1))
    assert bisections.end("unknown") == ()
    assert bisections.end("batch-1") == ()


def test_guilty_rows_of_partitions_that_left_are_withdrawn_and_not_buried() -> None:
    bisections = make_bisections()
    batch = make_batch(3)
    first, second = bisections.refuse(batch, refusal_of(batch)).pieces
    bisections.refuse(second, refusal_of(second))
    assert bisections.withdraw_guilty(lambda row: row.record.offset == 0) == []
    assert bisections.withdraw_guilty(lambda row: row.record.offset == 2) == [batch.rows[2]]
    assert bisections.end(first.id) == ()

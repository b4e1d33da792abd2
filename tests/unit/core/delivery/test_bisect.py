"""Bisection: the guilty rows are found, nothing is buried early, and a batch that is wholly bad is
not the rows' fault.
"""

from __future__ import annotations

from collections import deque
from math import log2
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import make_batch, make_destination
from worker.core.delivery.bisect import Bisections, Finding, Verdict
from worker.core.delivery.evidence import Evidence
from worker.core.delivery.settlement import Refusal
from worker.core.model.batch import Batch
from worker.core.model.fault import FieldFault, Reason


def refusal_of(batch: Batch) -> Refusal:
    return Refusal(batch.rows[0], FieldFault(Reason.REFUSED, "", "the API answered 400"), 400)


class Court:
    """Bisections and the evidence that they go by, with requests that take no time unless they are
    kept open.
    """

    def __init__(self, systemic_ratio: float = 1.0, systemic_rows_min: int = 10**6) -> None:
        self.evidence = Evidence()
        self.bisections = Bisections(
            systemic_ratio=systemic_ratio,
            systemic_rows_min=systemic_rows_min,
            evidence=self.evidence,
        )

    def send(self, *batches: Batch) -> None:
        for batch in batches:
            self.evidence.start(batch)

    def refuse(self, batch: Batch) -> Verdict:
        """Its request, which has been sent, is refused."""
        return self.bisections.refuse(batch, refusal_of(batch), self.evidence.end(batch.id))

    def accept(self, batch: Batch) -> list[int]:
        """Its request, which has been sent, is taken; the offsets of the guilty."""
        self.evidence.accept(batch, self.evidence.end(batch.id))
        return [refusal.row.record.offset for refusal in self.bisections.deliver(batch)]

    def asked(self, batch: Batch) -> Verdict:
        self.send(batch)
        return self.refuse(batch)

    def taken(self, batch: Batch) -> list[int]:
        self.send(batch)
        return self.accept(batch)

    def end(self, batch: Batch) -> list[int]:
        return [refusal.row.record.offset for refusal in self.bisections.end(batch.id)]


class Api:
    """Refuses every batch that holds a guilty row, and counts. `run` plays one batch to its end, or
    to the hold.

    Accused rows are asked again as soon as they may be; those of which nothing has been accepted
    since stay `quarantined`.
    """

    def __init__(self, court: Court, bad_rows: set[int]) -> None:
        self.court = court
        self.bad_rows = bad_rows
        self.requests = 0
        self.delivered: list[int] = []
        self.dead_lettered: list[int] = []
        self.quarantined: list[Batch] = []
        self.held: list[int] = []
        self.left: deque[Batch] = deque()

    def run(self, batch: Batch) -> None:
        self.left.append(batch)
        for _ in range(2000):
            if not self.left or self.held:
                return
            self.send(self.left.popleft())
        raise AssertionError("the bisection does not end")

    def run_with_company(self, batch: Batch) -> None:
        """The same, and others of its application are accepted in the end, so that all the accused
        can be judged.
        """
        self.run(batch)
        self.court.taken(make_batch(1, batch_id="company", start=10**6))
        self.release()
        while self.left:
            self.send(self.left.popleft())

    def send(self, batch: Batch) -> None:
        self.requests += 1
        self.court.send(batch)
        if not self.bad_rows & {row.record.offset for row in batch.rows}:
            self.delivered += [row.record.offset for row in batch.rows]
            self.write_dead_letters(self.court.accept(batch))
            self.release()
            return
        verdict = self.court.refuse(batch)
        assert not (verdict.pieces and verdict.bad_rows)
        self.left.extendleft(reversed(verdict.pieces))
        self.write_dead_letters([refusal.row.record.offset for refusal in verdict.bad_rows])
        if verdict.finding is Finding.ACCUSED:
            self.quarantined.append(batch)
            self.release()
        elif verdict.finding is Finding.SYSTEMIC:
            # As the backlog does.
            quarantined = [
                row
                for one in self.quarantined
                if not self.court.bisections.concerns(one.id)
                for row in one.rows
            ]
            self.quarantined = [
                one for one in self.quarantined if self.court.bisections.concerns(one.id)
            ]
            self.held = [
                row.record.offset for row in (*quarantined, *verdict.released, *batch.rows)
            ]

    def release(self) -> None:
        going = [
            batch for batch in self.quarantined if self.court.bisections.may_be_asked_again(batch)
        ]
        self.quarantined = [batch for batch in self.quarantined if batch not in going]
        self.left.extendleft(reversed(going))

    def write_dead_letters(self, offsets: list[int]) -> None:
        self.dead_lettered += offsets


@pytest.mark.parametrize(
    "bad_rows",
    [{0}, {63}, {31, 32}, {0, 21, 42, 63}, set(range(0, 64, 4)), set(range(64))],
    ids=len,
)
def test_the_guilty_rows_are_found_within_the_promised_number_of_requests(
    bad_rows: set[int],
) -> None:
    api = Api(Court(), bad_rows)
    api.run_with_company(make_batch(64))
    assert sorted(api.dead_lettered) == sorted(bad_rows)
    assert sorted(api.delivered) == sorted(set(range(64)) - bad_rows)
    # Each guilty row is asked alone at most twice.
    assert api.requests <= 2 * len(bad_rows) * log2(64 / len(bad_rows)) + 3 * len(bad_rows) + 1


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 200).flatmap(
        lambda rows: st.tuples(st.just(rows), st.sets(st.integers(0, rows - 1), min_size=1))
    )
)
def test_every_row_is_judged_once_whatever_the_guilty_ones_are(case: tuple[int, set[int]]) -> None:
    rows, bad_rows = case
    api = Api(Court(), bad_rows)
    api.run_with_company(make_batch(rows))
    assert sorted(api.dead_lettered) == sorted(bad_rows)
    assert sorted(api.delivered) == sorted(set(range(rows)) - bad_rows)
    # An odd batch has one deeper leaf; hence the rows are counted up to the next power of two.
    whole = 2 ** (rows - 1).bit_length()
    assert api.requests <= 2 * len(bad_rows) * log2(whole / len(bad_rows)) + 3 * len(bad_rows) + 1


def test_both_halves_are_always_sent() -> None:
    batch = make_batch(4)
    verdict = Court().asked(batch)
    assert verdict.finding is Finding.SPLIT
    assert [len(piece.rows) for piece in verdict.pieces] == [2, 2]
    assert verdict.pieces[0].rows + verdict.pieces[1].rows == batch.rows
    assert verdict.bad_rows == ()


# --- a second refusal -----------------------------------------------------------------------------


def test_a_row_that_was_refused_alone_while_nothing_was_taken_is_only_accused() -> None:
    court, batch = Court(), make_batch(1)
    assert [court.asked(batch).finding for _ in range(5)] == [Finding.ACCUSED] * 5
    assert not court.bisections.may_be_asked_again(batch)


def test_a_second_refusal_with_another_row_accepted_in_between_makes_it_guilty() -> None:
    court, batch = Court(), make_batch(1)
    court.asked(batch)
    court.taken(make_batch(1, batch_id="other", start=5))
    assert court.bisections.may_be_asked_again(batch)
    assert court.asked(batch).bad_rows == (refusal_of(batch),)
    assert not court.bisections.concerns(batch.id)


def test_a_row_of_another_application_proves_nothing() -> None:
    court, batch = Court(), make_batch(1)
    court.asked(batch)
    court.taken(make_batch(1, batch_id="other", start=5, destination=make_destination(2222)))
    assert not court.bisections.may_be_asked_again(batch)
    assert court.asked(batch).finding is Finding.ACCUSED


def test_a_request_that_was_under_way_when_the_row_was_refused_proves_nothing() -> None:
    """The API may have judged it before it began to refuse everything."""
    court, batch, early = Court(), make_batch(1), make_batch(1, batch_id="early", start=5)
    court.send(early)
    court.asked(batch)
    court.accept(early)
    assert not court.bisections.may_be_asked_again(batch)
    assert court.asked(batch).finding is Finding.ACCUSED


def test_a_row_that_was_asked_before_the_others_were_accepted_is_asked_once_more() -> None:
    court, batch = Court(), make_batch(1)
    court.asked(batch)
    court.send(batch)
    court.taken(make_batch(1, batch_id="other", start=5))
    assert court.refuse(batch).finding is Finding.ACCUSED
    assert court.asked(batch).bad_rows == (refusal_of(batch),)


def test_a_row_that_is_accepted_the_second_time_is_not_guilty() -> None:
    court, batch = Court(), make_batch(1)
    court.asked(batch)
    court.taken(make_batch(1, batch_id="other", start=5))
    assert court.taken(batch) == []
    assert not court.bisections.concerns(batch.id)


def test_the_refusal_of_a_piece_whose_other_rows_were_accepted_counts_as_the_first_one() -> None:
    """So that the one bad row of a batch needs nobody else: its own neighbours show that the API
    works.
    """
    court = Court()
    first, second = court.asked(make_batch(2)).pieces
    court.send(first, second)
    assert court.refuse(first).finding is Finding.ACCUSED
    assert not court.bisections.may_be_asked_again(first)
    court.accept(second)
    assert court.bisections.may_be_asked_again(first)
    assert court.asked(first).bad_rows == (refusal_of(first),)


def test_a_row_whose_neighbours_were_accepted_before_it_was_asked_needs_no_second_question() -> (
    None
):
    court = Court()
    first, second = court.asked(make_batch(2)).pieces
    court.taken(second)
    assert court.asked(first).bad_rows == (refusal_of(first),)


def test_the_refusal_of_a_piece_with_two_bad_rows_counts_for_neither() -> None:
    """One of them may have been refused alone because the API refused everything just then."""
    court = Court()
    left, right = court.asked(make_batch(4)).pieces
    court.taken(left)
    one, other = court.asked(right).pieces
    assert [court.asked(one).finding, court.asked(other).finding] == [Finding.ACCUSED] * 2
    assert not court.bisections.may_be_asked_again(one)
    court.taken(make_batch(1, batch_id="company", start=10))
    assert court.asked(one).bad_rows == (refusal_of(one),)
    assert court.asked(other).bad_rows == (refusal_of(other),)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_an_api_that_refuses_everything_for_a_while_has_no_valid_row_given_up(
    data: st.DataObject,
) -> None:
    """Three batches with two bad rows among them, their pieces asked in any order, one while of
    which everything is refused.
    """
    court, bad = Court(), {3, 11}
    left = [make_batch(4, batch_id=f"batch-{number}", start=4 * number) for number in range(4)]
    quarantined: list[Batch] = []
    begin = data.draw(st.integers(0, 20))
    end = begin + data.draw(st.integers(0, 20))
    bad_rows: list[int] = []
    for turn in range(200):
        if not left:
            break
        batch = left.pop(data.draw(st.integers(0, len(left) - 1)))
        court.send(batch)
        if begin <= turn < end or bad & {row.record.offset for row in batch.rows}:
            verdict = court.refuse(batch)
            left += verdict.pieces
            bad_rows += [refusal.row.record.offset for refusal in verdict.bad_rows]
            quarantined += [batch] if verdict.finding is Finding.ACCUSED else []
        else:
            bad_rows += court.accept(batch)
        left += [one for one in quarantined if court.bisections.may_be_asked_again(one)]
        quarantined = [one for one in quarantined if one not in left]
    assert set(bad_rows) <= bad
    assert len(bad_rows) == len(set(bad_rows))


# --- all of a batch -------------------------------------------------------------------------------


def test_guilty_rows_wait_for_the_last_piece_of_their_batch() -> None:
    court = Court()
    first, second = court.asked(make_batch(2)).pieces
    court.taken(make_batch(1, batch_id="company", start=10))
    court.asked(first)
    court.taken(make_batch(1, batch_id="more company", start=11))
    assert court.asked(first).bad_rows == ()
    assert court.end(second) == [0]


@pytest.mark.parametrize(
    ("bad_rows", "is_systemic"),
    [(10, False), (11, True), (20, True)],
    ids=["exactly the ratio", "one above", "all"],
)
def test_above_the_ratio_the_rows_are_not_at_fault(bad_rows: int, is_systemic: bool) -> None:
    api = Api(Court(0.5, 20), set(range(bad_rows)))
    api.run(make_batch(20))
    assert bool(api.held) == is_systemic
    if is_systemic:
        assert api.dead_lettered == []
        assert sorted(api.held) == list(range(11))
        left = {row.record.offset for batch in api.left for row in batch.rows}
        assert set(api.held) | left | set(api.delivered) == set(range(20))


def test_a_small_batch_says_nothing_about_the_system() -> None:
    api = Api(Court(0.5, 20), set(range(19)))
    api.run_with_company(make_batch(19))
    assert len(api.dead_lettered) == 19


def in_a_row(api: Api, sizes: list[int], **changes: Any) -> list[int]:
    """Play small batches one after the other, rows numbered on; how many rows had been buried after
    each, until the hold.
    """
    dead_lettered, start = [], 0
    for number, size in enumerate(sizes):
        if not api.held:
            api.run(make_batch(size, batch_id=f"batch-{number}", start=start, **changes))
            dead_lettered.append(len(api.dead_lettered))
        start += size
    return dead_lettered


@pytest.mark.parametrize("sizes", [[1] * 30, [4] * 8, [19, 1, 1], [7, 7, 7]], ids=str)
def test_small_batches_in_a_row_of_which_no_row_was_taken_are_not_the_rows_fault(
    sizes: list[int],
) -> None:
    api = Api(Court(0.5, 20), set(range(100)))
    in_a_row(api, sizes)
    assert api.held
    assert api.dead_lettered == []
    quarantined = [row.record.offset for batch in api.quarantined for row in batch.rows]
    assert sorted(quarantined + api.held) == list(range(len(quarantined) + len(api.held)))


def test_one_row_that_was_taken_shows_that_the_others_were_at_fault() -> None:
    api = Api(Court(0.5, 20), set(range(100)) - {15})
    assert in_a_row(api, [1] * 35) == [0] * 15 + [15] * 20
    assert not api.held
    assert len(api.quarantined) == 19


def test_a_small_batch_of_which_a_row_was_taken_does_not_count() -> None:
    api = Api(Court(0.5, 20), set(range(100)) - {3, 7, 11, 15, 19, 23, 27, 31})
    in_a_row(api, [4] * 8)
    assert not api.held
    assert len(api.dead_lettered) + len(api.quarantined) == 24


def test_another_application_s_rows_prove_nothing() -> None:
    api = Api(Court(0.5, 20), set(range(100)))
    in_a_row(api, [1] * 19)
    in_a_row(api, [1], destination=make_destination(2222))
    assert not api.held
    assert len(api.quarantined) == 20


def test_after_a_systemic_fault_the_pieces_under_way_are_batches_of_their_own() -> None:
    court = Court(0.5, 2)
    api = Api(court, {0, 1, 2, 3})
    api.run(make_batch(4))
    assert api.held
    assert [court.end(piece) for piece in api.left] == [[]] * len(api.left)
    assert not any(court.bisections.concerns(piece.id) for piece in api.left)


def test_two_batches_are_taken_apart_independently() -> None:
    court = Court()
    first, second = court.asked(make_batch(2, batch_id="one")).pieces
    third, fourth = court.asked(make_batch(2, batch_id="other", start=10)).pieces
    for piece in (first, third):
        court.asked(piece)
    court.taken(make_batch(1, batch_id="company", start=20))
    for piece in (first, third):
        assert court.asked(piece).bad_rows == ()
    assert court.end(second) == [0]
    assert court.end(fourth) == [10]


def test_a_piece_goes_on_as_its_successors() -> None:
    court = Court()
    first, second = court.asked(make_batch(3)).pieces
    court.taken(make_batch(1, batch_id="company", start=20))
    court.asked(second)
    court.taken(make_batch(1, batch_id="more company", start=21))
    assert court.asked(second).bad_rows == ()
    left, right = make_batch(first.rows[:1], batch_id="l"), make_batch(first.rows[1:], batch_id="r")
    court.bisections.replace(first.id, left, right)
    assert court.end(left) == []
    assert court.end(right) == [2]


def test_a_batch_that_is_not_taken_apart_has_nothing_to_end_or_replace() -> None:
    court = Court()
    court.bisections.replace("unknown", make_batch(1))
    assert court.bisections.end("unknown") == ()
    assert court.bisections.end("batch-1") == ()


def test_guilty_rows_of_partitions_that_left_are_withdrawn_and_not_buried() -> None:
    court, batch = Court(), make_batch(3)
    first, second = court.asked(batch).pieces
    court.asked(second)
    court.taken(make_batch(1, batch_id="company", start=20))
    court.asked(second)
    assert court.bisections.withdraw_guilty(lambda row: row.record.offset == 0) == []
    assert court.bisections.withdraw_guilty(lambda row: row.record.offset == 2) == [batch.rows[2]]
    assert court.end(first) == []

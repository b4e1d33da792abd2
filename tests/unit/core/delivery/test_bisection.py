"""Bisection finds the bad rows; no row is dead-lettered early, nor for a wholly refused batch."""

from __future__ import annotations

from collections import deque
from math import log2
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_batch, make_destination
from tests.searches import examples
from worker.core.delivery.bisection import (
    Bisections,
    Finding,
    Halved,
    ProvenBad,
    Systemic,
    Unproven,
)
from worker.core.delivery.request_history import RequestHistory
from worker.core.delivery.settlement import RefusedRow
from worker.core.model.batch import Batch
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.row import Row


def refusal_of(batch: Batch) -> RefusedRow:
    return RefusedRow(batch.rows[0], FieldFault(Reason.REFUSED, "", "the API answered 400"), 400)


def offsets(bad_rows: tuple[RefusedRow, ...]) -> list[int]:
    return [refusal.row.record.offset for refusal in bad_rows]


def pieces_of(finding: Finding) -> tuple[Batch, ...]:
    """The pieces of a batch that was halved."""
    assert isinstance(finding, Halved)
    return finding.pieces


def bad_rows_of(finding: Finding) -> tuple[RefusedRow, ...]:
    """The rows given up with a row that was proven bad."""
    assert isinstance(finding, ProvenBad)
    return finding.bad_rows


class Requests:
    """Bisections and the history of requests, which take no time unless they are kept open."""

    def __init__(self, systemic_ratio: float = 1.0, systemic_rows_min: int = 10**6) -> None:
        self.history = RequestHistory()
        self.bisections = Bisections(
            systemic_ratio=systemic_ratio,
            systemic_rows_min=systemic_rows_min,
        )

    def send(self, *batches: Batch) -> None:
        for batch in batches:
            self.history.start(batch)

    def refuse(self, batch: Batch) -> Finding:
        """Its request, which has been sent, is refused."""
        return self.bisections.refuse(batch, refusal_of(batch), self.history.end(batch.id))

    def accept(self, batch: Batch) -> list[int]:
        """Its request, which has been sent, is taken; the offsets of the bad rows."""
        self.history.accept(batch, self.history.end(batch.id))
        return offsets(self.bisections.deliver(batch))

    def may_be_sent_again(self, batch: Batch) -> bool:
        newest_accepted = self.history.newest_accepted(batch.destination.application_id)
        return self.bisections.may_be_sent_again(batch, newest_accepted)

    def refused(self, batch: Batch) -> Finding:
        self.send(batch)
        return self.refuse(batch)

    def accepted(self, batch: Batch) -> list[int]:
        self.send(batch)
        return self.accept(batch)

    def end(self, batch: Batch) -> list[int]:
        return offsets(self.bisections.end(batch.id))


class Api:
    """Refuses every batch with a bad row, and counts. `run` plays a batch to its end or the hold.

    Quarantined rows are sent again as soon as they may be; rows since which nothing has been
    accepted stay `quarantined`.
    """

    def __init__(self, requests: Requests, bad_rows: set[int]) -> None:
        self.sender = requests
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
        """As `run`; then other rows are accepted, which decides all quarantined rows."""
        self.run(batch)
        self.sender.accepted(make_batch(1, batch_id="company", start=10**6))
        self.release()
        while self.left:
            self.send(self.left.popleft())

    def send(self, batch: Batch) -> None:
        self.requests += 1
        self.sender.send(batch)
        if not self.bad_rows & {row.record.offset for row in batch.rows}:
            self.delivered += [row.record.offset for row in batch.rows]
            self.write_dead_letters(self.sender.accept(batch))
            self.release()
            return
        match self.sender.refuse(batch):
            case Halved(pieces=pieces):
                self.left.extendleft(reversed(pieces))
            case ProvenBad(bad_rows=bad_rows):
                self.write_dead_letters(offsets(bad_rows))
            case Unproven(bad_rows=bad_rows):
                self.write_dead_letters(offsets(bad_rows))
                self.quarantined.append(batch)
                self.release()
            case Systemic(released=released):
                self.hold((*released, *batch.rows))

    def hold(self, rows: tuple[Row, ...]) -> None:
        """As `WaitingBatches` does."""
        concerns = self.sender.bisections.concerns
        ordinary = [
            row for other in self.quarantined if not concerns(other.id) for row in other.rows
        ]
        self.quarantined = [other for other in self.quarantined if concerns(other.id)]
        self.held = [row.record.offset for row in (*ordinary, *rows)]

    def release(self) -> None:
        going = [batch for batch in self.quarantined if self.sender.may_be_sent_again(batch)]
        self.quarantined = [batch for batch in self.quarantined if batch not in going]
        self.left.extendleft(reversed(going))

    def write_dead_letters(self, offsets: list[int]) -> None:
        self.dead_lettered += offsets


@pytest.mark.parametrize(
    "bad_rows",
    [{0}, {63}, {31, 32}, {0, 21, 42, 63}, set(range(0, 64, 4)), set(range(64))],
    ids=len,
)
def test_the_bad_rows_are_found_within_the_promised_number_of_requests(
    bad_rows: set[int],
) -> None:
    api = Api(Requests(), bad_rows)
    api.run_with_company(make_batch(64))
    assert sorted(api.dead_lettered) == sorted(bad_rows)
    assert sorted(api.delivered) == sorted(set(range(64)) - bad_rows)
    # Each bad row is sent alone at most twice.
    assert api.requests <= 2 * len(bad_rows) * log2(64 / len(bad_rows)) + 3 * len(bad_rows) + 1


@examples(100)
@given(
    st.integers(1, 200).flatmap(
        lambda rows: st.tuples(st.just(rows), st.sets(st.integers(0, rows - 1), min_size=1))
    )
)
def test_every_row_ends_once_whichever_rows_are_bad(case: tuple[int, set[int]]) -> None:
    rows, bad_rows = case
    api = Api(Requests(), bad_rows)
    api.run_with_company(make_batch(rows))
    assert sorted(api.dead_lettered) == sorted(bad_rows)
    assert sorted(api.delivered) == sorted(set(range(rows)) - bad_rows)
    # An odd batch has one deeper leaf; hence the rows are counted up to the next power of two.
    whole = 2 ** (rows - 1).bit_length()
    assert api.requests <= 2 * len(bad_rows) * log2(whole / len(bad_rows)) + 3 * len(bad_rows) + 1


def test_both_halves_are_always_sent() -> None:
    batch = make_batch(4)
    first, second = pieces_of(Requests().refused(batch))
    assert [len(first.rows), len(second.rows)] == [2, 2]
    assert first.rows + second.rows == batch.rows


# --- a second refusal -----------------------------------------------------------------------------


def test_a_row_that_was_refused_alone_while_nothing_was_taken_is_only_unproven() -> None:
    requests, batch = Requests(), make_batch(1)
    assert all(isinstance(requests.refused(batch), Unproven) for _ in range(5))
    assert not requests.may_be_sent_again(batch)


def test_a_second_refusal_with_another_row_accepted_in_between_proves_it_bad() -> None:
    requests, batch = Requests(), make_batch(1)
    requests.refused(batch)
    requests.accepted(make_batch(1, batch_id="other", start=5))
    assert requests.may_be_sent_again(batch)
    assert bad_rows_of(requests.refused(batch)) == (refusal_of(batch),)
    assert not requests.bisections.concerns(batch.id)


def test_a_row_of_another_application_proves_nothing() -> None:
    requests, batch = Requests(), make_batch(1)
    requests.refused(batch)
    requests.accepted(make_batch(1, batch_id="other", start=5, destination=make_destination(2222)))
    assert not requests.may_be_sent_again(batch)
    assert isinstance(requests.refused(batch), Unproven)


def test_a_request_that_was_under_way_when_the_row_was_refused_proves_nothing() -> None:
    """The API may have processed it before it began to refuse everything."""
    requests, batch, early = Requests(), make_batch(1), make_batch(1, batch_id="early", start=5)
    requests.send(early)
    requests.refused(batch)
    requests.accept(early)
    assert not requests.may_be_sent_again(batch)
    assert isinstance(requests.refused(batch), Unproven)


def test_a_row_that_was_sent_before_the_others_were_accepted_is_sent_once_more() -> None:
    requests, batch = Requests(), make_batch(1)
    requests.refused(batch)
    requests.send(batch)
    requests.accepted(make_batch(1, batch_id="other", start=5))
    assert isinstance(requests.refuse(batch), Unproven)
    assert bad_rows_of(requests.refused(batch)) == (refusal_of(batch),)


def test_a_row_that_is_accepted_the_second_time_is_not_bad() -> None:
    requests, batch = Requests(), make_batch(1)
    requests.refused(batch)
    requests.accepted(make_batch(1, batch_id="other", start=5))
    assert requests.accepted(batch) == []
    assert not requests.bisections.concerns(batch.id)


def test_the_refusal_of_a_piece_whose_other_rows_were_accepted_counts_as_the_first_one() -> None:
    """The one bad row of a batch needs no other batch: its neighbours show that the API works."""
    requests = Requests()
    first, second = pieces_of(requests.refused(make_batch(2)))
    requests.send(first, second)
    assert isinstance(requests.refuse(first), Unproven)
    assert not requests.may_be_sent_again(first)
    requests.accept(second)
    assert requests.may_be_sent_again(first)
    assert bad_rows_of(requests.refused(first)) == (refusal_of(first),)


def test_a_row_whose_neighbours_were_accepted_before_it_was_sent_needs_no_second_request() -> None:
    requests = Requests()
    first, second = pieces_of(requests.refused(make_batch(2)))
    requests.accepted(second)
    assert bad_rows_of(requests.refused(first)) == (refusal_of(first),)


def test_the_refusal_of_a_piece_with_two_bad_rows_counts_for_neither() -> None:
    """One of them may have been refused alone because the API refused everything just then."""
    requests = Requests()
    left, right = pieces_of(requests.refused(make_batch(4)))
    requests.accepted(left)
    one, other = pieces_of(requests.refused(right))
    assert isinstance(requests.refused(one), Unproven)
    assert isinstance(requests.refused(other), Unproven)
    assert not requests.may_be_sent_again(one)
    requests.accepted(make_batch(1, batch_id="company", start=10))
    assert bad_rows_of(requests.refused(one)) == (refusal_of(one),)
    assert bad_rows_of(requests.refused(other)) == (refusal_of(other),)


@examples(200)
@given(st.data())
def test_an_api_that_refuses_everything_for_a_while_has_no_valid_row_given_up(
    data: st.DataObject,
) -> None:
    """Three batches with two bad rows among them, their pieces asked in any order.

    While one piece is asked, everything is refused.
    """
    requests, bad = Requests(), {3, 11}
    left = [make_batch(4, batch_id=f"batch-{number}", start=4 * number) for number in range(4)]
    quarantined: list[Batch] = []
    begin = data.draw(st.integers(0, 20))
    end = begin + data.draw(st.integers(0, 20))
    bad_rows: list[int] = []
    for turn in range(200):
        if not left:
            break
        batch = left.pop(data.draw(st.integers(0, len(left) - 1)))
        requests.send(batch)
        if begin <= turn < end or bad & {row.record.offset for row in batch.rows}:
            finding = requests.refuse(batch)
            if isinstance(finding, Halved):
                left += finding.pieces
            elif isinstance(finding, ProvenBad | Unproven):
                bad_rows += offsets(finding.bad_rows)
                quarantined += [batch] if isinstance(finding, Unproven) else []
        else:
            bad_rows += requests.accept(batch)
        left += [one for one in quarantined if requests.may_be_sent_again(one)]
        quarantined = [one for one in quarantined if one not in left]
    assert set(bad_rows) <= bad
    assert len(bad_rows) == len(set(bad_rows))


# --- all of a batch -------------------------------------------------------------------------------


def test_bad_rows_wait_for_the_last_piece_of_their_batch() -> None:
    requests = Requests()
    first, second = pieces_of(requests.refused(make_batch(2)))
    requests.accepted(make_batch(1, batch_id="company", start=10))
    requests.refused(first)
    requests.accepted(make_batch(1, batch_id="more company", start=11))
    assert bad_rows_of(requests.refused(first)) == ()
    assert requests.end(second) == [0]


@pytest.mark.parametrize(
    ("bad_rows", "is_systemic"),
    [(10, False), (11, True), (20, True)],
    ids=["exactly the ratio", "one above", "all"],
)
def test_above_the_ratio_the_rows_are_not_at_fault(bad_rows: int, is_systemic: bool) -> None:
    api = Api(Requests(0.5, 20), set(range(bad_rows)))
    api.run(make_batch(20))
    assert bool(api.held) == is_systemic
    if is_systemic:
        assert api.dead_lettered == []
        assert sorted(api.held) == list(range(11))
        left = {row.record.offset for batch in api.left for row in batch.rows}
        assert set(api.held) | left | set(api.delivered) == set(range(20))


def test_a_small_batch_says_nothing_about_the_system() -> None:
    api = Api(Requests(0.5, 20), set(range(19)))
    api.run_with_company(make_batch(19))
    assert len(api.dead_lettered) == 19


def in_a_row(api: Api, sizes: list[int], **changes: Any) -> list[int]:
    """Play small batches one after the other until the hold, with consecutive row numbers.

    Returns the number of dead-lettered rows after each batch.
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
    api = Api(Requests(0.5, 20), set(range(100)))
    in_a_row(api, sizes)
    assert api.held
    assert api.dead_lettered == []
    quarantined = [row.record.offset for batch in api.quarantined for row in batch.rows]
    assert sorted(quarantined + api.held) == list(range(len(quarantined) + len(api.held)))


def test_one_row_that_was_taken_shows_that_the_others_were_at_fault() -> None:
    api = Api(Requests(0.5, 20), set(range(100)) - {15})
    assert in_a_row(api, [1] * 35) == [0] * 15 + [15] * 20
    assert not api.held
    assert len(api.quarantined) == 19


def test_a_small_batch_of_which_a_row_was_taken_does_not_count() -> None:
    api = Api(Requests(0.5, 20), set(range(100)) - {3, 7, 11, 15, 19, 23, 27, 31})
    in_a_row(api, [4] * 8)
    assert not api.held
    assert len(api.dead_lettered) + len(api.quarantined) == 24


def test_another_application_s_rows_prove_nothing() -> None:
    api = Api(Requests(0.5, 20), set(range(100)))
    in_a_row(api, [1] * 19)
    in_a_row(api, [1], destination=make_destination(2222))
    assert not api.held
    assert len(api.quarantined) == 20


def test_after_a_systemic_fault_the_pieces_under_way_are_batches_of_their_own() -> None:
    requests = Requests(0.5, 2)
    api = Api(requests, {0, 1, 2, 3})
    api.run(make_batch(4))
    assert api.held
    assert [requests.end(piece) for piece in api.left] == [[]] * len(api.left)
    assert not any(requests.bisections.concerns(piece.id) for piece in api.left)


def test_two_batches_are_taken_apart_independently() -> None:
    requests = Requests()
    first, second = pieces_of(requests.refused(make_batch(2, batch_id="one")))
    third, fourth = pieces_of(requests.refused(make_batch(2, batch_id="other", start=10)))
    for piece in (first, third):
        requests.refused(piece)
    requests.accepted(make_batch(1, batch_id="company", start=20))
    for piece in (first, third):
        assert bad_rows_of(requests.refused(piece)) == ()
    assert requests.end(second) == [0]
    assert requests.end(fourth) == [10]


def test_a_piece_goes_on_as_its_successors() -> None:
    requests = Requests()
    first, second = pieces_of(requests.refused(make_batch(3)))
    requests.accepted(make_batch(1, batch_id="company", start=20))
    requests.refused(second)
    requests.accepted(make_batch(1, batch_id="more company", start=21))
    assert bad_rows_of(requests.refused(second)) == ()
    left, right = make_batch(first.rows[:1], batch_id="l"), make_batch(first.rows[1:], batch_id="r")
    requests.bisections.replace(first.id, left, right)
    assert requests.end(left) == []
    assert requests.end(right) == [2]


def test_a_batch_that_is_not_taken_apart_has_nothing_to_end_or_replace() -> None:
    requests = Requests()
    requests.bisections.replace("unknown", make_batch(1))
    assert requests.bisections.end("unknown") == ()
    assert requests.bisections.end("batch-1") == ()


def test_bad_rows_of_partitions_that_left_are_taken_back_and_not_dead_lettered() -> None:
    requests, batch = Requests(), make_batch(3)
    first, second = pieces_of(requests.refused(batch))
    requests.refused(second)
    requests.accepted(make_batch(1, batch_id="company", start=20))
    requests.refused(second)
    assert requests.bisections.take_bad_rows(lambda row: row.record.offset == 0) == []
    (taken,) = requests.bisections.take_bad_rows(lambda row: row.record.offset == 2)
    assert taken.row is batch.rows[2]
    assert requests.end(first) == []

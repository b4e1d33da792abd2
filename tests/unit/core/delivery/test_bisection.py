"""Bisection finds the bad rows; no row is dead-lettered early, nor for a wholly refused batch."""

from __future__ import annotations

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_batch, make_destination
from tests.searches import examples
from tests.unit.core.delivery.refusing_api import (
    Api,
    Requests,
    bad_rows_of,
    pieces_of,
    refusal_of,
)
from worker.core.delivery.bisection import (
    Unproven,
)


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


def test_bad_rows_wait_for_the_last_piece_of_their_batch() -> None:
    requests = Requests()
    first, second = pieces_of(requests.refused(make_batch(2)))
    requests.accepted(make_batch(1, batch_id="company", start=10))
    requests.refused(first)
    requests.accepted(make_batch(1, batch_id="more company", start=11))
    assert bad_rows_of(requests.refused(first)) == ()
    assert requests.end(second) == [0]


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

"""Pieces of batches: the same lines, sizes that add up, ids of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_batch, make_destination
from tests.searches import examples
from worker.core.delivery.settlement import (
    JOINED_ROWS_MAX,
    first_rows_apart,
    halves,
    joined,
    without,
)


@pytest.mark.parametrize(
    ("rows", "sizes"), [(2, (1, 1)), (3, (2, 1)), (4, (2, 2)), (101, (51, 50))]
)
def test_a_batch_is_halved_in_order_and_the_first_half_is_the_larger(
    rows: int, sizes: tuple[int, int]
) -> None:
    batch = make_batch(rows)
    first, second = halves(batch)
    assert (len(first.rows), len(second.rows)) == sizes
    assert first.rows + second.rows == batch.rows
    assert first.body() == batch.header + b"".join(row.line for row in first.rows)
    assert [len(half.body()) for half in (first, second)] == [first.body_bytes, second.body_bytes]
    assert len({batch.id, first.id, second.id}) == 3


def test_a_single_row_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="batch-1 has a single row"):
        halves(make_batch(1))


def test_a_batch_that_loses_nothing_stays_the_batch_it_is() -> None:
    batch = make_batch(3)
    assert without(batch, lambda row: False, "kept") == (batch, ())


def test_a_batch_that_loses_everything_is_none() -> None:
    batch = make_batch(3)
    assert without(batch, lambda row: True, "kept") == (None, batch.rows)


@examples(50)
@given(st.sets(st.integers(0, 9), min_size=1, max_size=9))
def test_what_stays_and_what_goes_are_the_whole_batch(gone: set[int]) -> None:
    batch = make_batch(10)
    kept, out = without(batch, lambda row: row.record.offset in gone, "kept")
    assert kept is not None
    assert kept.id != batch.id
    assert [row.record.offset for row in out] == sorted(gone)
    assert [row.record.offset for row in kept.rows] == sorted(set(range(10)) - gone)
    assert kept.body_bytes == len(kept.body())


@pytest.mark.parametrize("rows", [1, 2])
def test_the_first_rows_are_apart_from_the_others(rows: int) -> None:
    batch = make_batch(3)
    first, rest = first_rows_apart(batch, rows)
    assert (first.rows, rest.rows) == (batch.rows[:rows], batch.rows[rows:])
    assert len({batch.id, first.id, rest.id}) == 3
    assert (first.body_bytes, rest.body_bytes) == (len(first.body()), len(rest.body()))


@pytest.mark.parametrize("rows", [0, 3, 4])
def test_all_rows_or_none_cannot_be_taken_apart(rows: int) -> None:
    with pytest.raises(ValueError, match="has 3 rows"):
        first_rows_apart(make_batch(3), rows)


def test_rows_are_joined_by_destination_in_the_order_in_which_they_came() -> None:
    mine = [make_batch(1, batch_id=f"mine-{offset}", start=offset) for offset in (0, 1, 3)]
    theirs = make_batch(1, batch_id="theirs", start=2, destination=make_destination(2222))
    first, second = joined([*mine[:2], theirs, mine[2]], "held")
    assert ([row.record.offset for row in first.rows], first.id) == ([0, 1, 3], "mine-0.held")
    assert (second.rows, second.destination, second.id) == (
        theirs.rows,
        theirs.destination,
        "theirs.held",
    )
    assert first.body_bytes == len(first.body())


def test_so_many_rows_that_a_request_should_not_have_them_all_are_several_batches() -> None:
    pieces = joined(
        [make_batch(JOINED_ROWS_MAX + 1), make_batch(1, batch_id="more", start=5000)], "held"
    )
    assert [len(piece.rows) for piece in pieces] == [JOINED_ROWS_MAX, 2]
    assert len({piece.id for piece in pieces}) == 2

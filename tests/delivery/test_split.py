"""Pieces of batches: the same lines, sizes that add up, ids of their own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import make_batch
from worker.delivery.split import first_row_apart, halves, without


@pytest.mark.parametrize(("rows", "sizes"), [(2, (1, 1)), (3, (2, 1)), (4, (2, 2)), (101, (51, 50))])
def test_a_batch_is_halved_in_order_and_the_first_half_is_the_larger(rows: int, sizes: tuple[int, int]) -> None:
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


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 9), min_size=1, max_size=9))
def test_what_stays_and_what_goes_are_the_whole_batch(gone: set[int]) -> None:
    batch = make_batch(10)
    kept, out = without(batch, lambda row: row.record.offset in gone, "kept")
    assert kept is not None
    assert kept.id != batch.id
    assert [row.record.offset for row in out] == sorted(gone)
    assert [row.record.offset for row in kept.rows] == sorted(set(range(10)) - gone)
    assert kept.body_bytes == len(kept.body())


def test_the_first_row_stands_apart_from_the_others() -> None:
    batch = make_batch(3)
    first, rest = first_row_apart(batch)
    assert (first.rows, rest.rows) == (batch.rows[:1], batch.rows[1:])
    assert len({batch.id, first.id, rest.id}) == 3
    assert (first.body_bytes, rest.body_bytes) == (len(first.body()), len(rest.body()))


def test_a_single_row_has_no_others() -> None:
    with pytest.raises(ValueError, match="single row"):
        first_row_apart(make_batch(1))

"""The batcher: what seals a batch, what may leave it, and that every row comes out once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_assignment, make_destination, make_row, make_rows, parse_csv
from tests.searches import examples
from worker.core.batching.batcher import Batcher, BatchLimits, Sealed, header
from worker.core.intake.line import csv_line
from worker.core.model.batch import Batch, FlushTrigger, shares_of
from worker.core.model.row import Destination, Row
from worker.core.post_api.resource import EVENTS, Identity

FIRST, SECOND = make_assignment(0), make_assignment(1)
HERE, THERE = make_destination(1111), make_destination(2222)
# The same rows with other columns.
FEW, OTHERS = HERE._replace(filled=0b1111), HERE._replace(filled=0b11111)
HEADER_BYTES = len(header(HERE))
LINE_BYTES = 100


def make_batcher(
    rows_max: int = 100, body_bytes_max: int = 10**6, linger_seconds: float = 1.0
) -> Batcher:
    return Batcher(BatchLimits(rows_max, body_bytes_max, linger_seconds), "worker")


def row(offset: int, line_bytes: int = LINE_BYTES, **changes: Any) -> Row:
    return make_row(offset, line=(b"%d" % offset).ljust(line_bytes - 1, b"x") + b"\n", **changes)


def assert_whole(batch: Batch) -> None:
    body = batch.body()
    assert body == header(batch.destination) + b"".join(row.line for row in batch.rows)
    assert len(body) == batch.body_bytes
    assert {row.destination for row in batch.rows} == {batch.destination}
    assert batch.shares == shares_of(batch.rows)


def test_the_header_names_all_columns_with_the_identity_of_the_batch() -> None:
    for identity in Identity:
        (names,) = parse_csv(header(make_destination(identity=identity)))
        assert tuple(names) == EVENTS.header(identity)


def test_a_batch_is_sealed_by_its_last_row_with_the_rows_in_order() -> None:
    batcher = make_batcher(rows_max=3)
    rows = make_rows(7)
    sealed = batcher.add(rows, 0.0)
    assert [one.trigger for one in sealed] == [FlushTrigger.ROWS] * 2
    assert [one.batch.rows for one in sealed] == [tuple(rows[:3]), tuple(rows[3:6])]
    assert [one.batch.id for one in sealed] == ["worker-1", "worker-2"]
    assert batcher.rows == 1
    for one in sealed:
        assert_whole(one.batch)


def test_a_bound_of_one_row_seals_each_row_by_itself() -> None:
    sealed = make_batcher(rows_max=1).add(make_rows(3), 0.0)
    assert [len(one.batch.rows) for one in sealed] == [1, 1, 1]


def test_open_batches_are_sealed_for_rows_that_have_an_order_with_theirs() -> None:
    batcher = Batcher(BatchLimits(100, 10**6, 1.0), "worker", ordered={"events"})
    batcher.add([row(0, destination=HERE), row(1, destination=THERE)], 0.0)
    (sealed,) = batcher.seal_ordered([row(2, destination=HERE)])
    assert (sealed.trigger, sealed.batch.destination) == (FlushTrigger.ORDER, HERE)
    assert batcher.rows == 1
    unordered = make_batcher()
    unordered.add([row(0, destination=HERE)], 0.0)
    assert unordered.seal_ordered([row(2, destination=HERE)]) == []


def test_a_row_that_would_burst_a_batch_opens_the_next_one() -> None:
    batcher = make_batcher(body_bytes_max=HEADER_BYTES + 2 * LINE_BYTES)
    assert batcher.add([row(0), row(1)], 0.0) == [], "exactly full is not too much"
    (sealed,) = batcher.add([row(2, line_bytes=1 + 2)], 0.0)
    assert (sealed.trigger, sealed.batch.body_bytes) == (
        FlushTrigger.BYTES,
        HEADER_BYTES + 2 * LINE_BYTES,
    )
    assert batcher.rows == 1


def test_a_row_as_large_as_a_body_may_be_goes_alone() -> None:
    batcher = make_batcher(body_bytes_max=HEADER_BYTES + 500)
    sealed = batcher.add([row(0), row(1, line_bytes=500), row(2)], 0.0)
    assert [[entry.record.offset for entry in one.batch.rows] for one in sealed] == [[0], [1]]
    assert all(one.batch.body_bytes <= HEADER_BYTES + 500 for one in sealed)


@examples(200)
@given(
    st.lists(
        st.tuples(st.sampled_from([HERE, THERE, FEW, OTHERS]), st.integers(10, 400)), max_size=40
    ),
    st.integers(1, 9),
    st.booleans(),
)
def test_rows_added_together_make_the_batches_of_rows_added_alone(
    arrivals: list[tuple[Destination, int]], rows_max: int, is_ordered: bool
) -> None:
    rows = [row(number, size, destination=one) for number, (one, size) in enumerate(arrivals)]
    limits = BatchLimits(rows_max, HEADER_BYTES + 1000, 1.0)
    together, alone = (
        Batcher(limits, "worker", ordered=("events",) if is_ordered else ()) for _ in range(2)
    )

    def contents(sealed: Iterable[Sealed]) -> list[tuple[FlushTrigger, list[int]]]:
        ends = [(one.trigger, [held.record.offset for held in one.batch.rows]) for one in sealed]
        # Only where rows have an order do batches of different destinations have one.
        return ends if is_ordered else sorted(ends, key=lambda end: end[1])

    batches = [*together.add(rows, 0.0), *together.due(5.0)]
    one_by_one = [sealed for one in rows for sealed in alone.add([one], 0.0)]
    assert contents(batches) == contents([*one_by_one, *alone.due(5.0)])
    for one in batches:
        assert_whole(one.batch)


def test_linger_counts_from_the_first_row_of_each_destination() -> None:
    batcher = make_batcher(linger_seconds=1.0)
    assert batcher.next_deadline() is None
    batcher.add([row(0, destination=HERE)], 10.0)
    batcher.add([row(1, destination=THERE), row(2, destination=HERE)], 10.5)
    assert batcher.next_deadline() == 11.0
    assert batcher.due(10.999) == []
    (sealed,) = batcher.due(11.0)
    assert (sealed.batch.destination, len(sealed.batch.rows), sealed.trigger) == (
        HERE,
        2,
        FlushTrigger.LINGER,
    )
    assert batcher.next_deadline() == 11.5
    assert [one.batch.destination for one in batcher.due(11.5)] == [THERE]
    assert (batcher.next_deadline(), batcher.rows) == (None, 0)


def test_a_batch_begun_after_a_full_one_lingers_anew() -> None:
    batcher = make_batcher(rows_max=2, linger_seconds=1.0)
    batcher.add([row(0)], 0.0)
    batcher.add([row(1), row(2)], 0.9)
    assert batcher.next_deadline() == pytest.approx(1.9)


def test_applications_and_identities_never_share_a_batch() -> None:
    batcher = make_batcher()
    destinations = [HERE, THERE, make_destination(1111, Identity.DEVICE_ID)]
    batcher.add([row(offset, destination=destinations[offset % 3]) for offset in range(9)], 0.0)
    sealed = batcher.due(5.0)
    assert {one.batch.destination for one in sealed} == set(destinations)
    for one in sealed:
        assert_whole(one.batch)


def test_a_drain_seals_the_batches_that_hold_rows_of_those_partitions_and_leaves_the_others() -> (
    None
):
    batcher = make_batcher()
    batcher.add(
        [row(0, assignment=FIRST, destination=HERE), row(1, assignment=SECOND, destination=HERE)],
        0.0,
    )
    batcher.add([row(2, assignment=SECOND, destination=THERE)], 0.0)
    (sealed,) = batcher.drain({FIRST})
    assert (sealed.trigger, len(sealed.batch.rows)) == (FlushTrigger.DRAIN, 2)
    assert batcher.rows == 1
    assert batcher.drain({FIRST}) == []


def test_withdrawn_rows_leave_a_batch_whose_size_is_right_again() -> None:
    limit = HEADER_BYTES + 3 * LINE_BYTES
    batcher = make_batcher(body_bytes_max=limit)
    batcher.add(
        [row(0, assignment=FIRST), row(1, assignment=SECOND), row(2, assignment=FIRST)], 0.0
    )
    assert [entry.record.offset for entry in batcher.take_back({FIRST})] == [0, 2]
    assert batcher.add([row(3, assignment=SECOND), row(4, assignment=SECOND)], 0.5) == [], (
        "there is room again"
    )
    (sealed,) = batcher.due(1.0)
    assert [entry.record.offset for entry in sealed.batch.rows] == [1, 3, 4]
    assert_whole(sealed.batch)


def test_taking_back_the_last_row_leaves_no_empty_batch_behind() -> None:
    batcher = make_batcher()
    batcher.add([row(0, assignment=FIRST)], 0.0)
    assert len(batcher.take_back({FIRST})) == 1
    assert (batcher.rows, batcher.next_deadline(), batcher.due(99.0)) == (0, None, [])


def test_withdrawing_from_batches_that_hold_nothing_of_it_changes_nothing() -> None:
    batcher = make_batcher()
    batcher.add([row(0, assignment=FIRST)], 0.0)
    assert batcher.take_back({SECOND}) == []
    assert batcher.rows == 1


def test_the_oldest_event_is_found_among_all_open_batches() -> None:
    batcher = make_batcher()
    assert batcher.oldest_event_timestamp is None
    batcher.add([row(0, event_timestamp=50), row(1, event_timestamp=30, destination=THERE)], 0.0)
    assert batcher.oldest_event_timestamp == 30


def csv_row(offset: int, cells: list[str], destination: Destination, partition: int) -> Row:
    return make_row(
        offset,
        line=csv_line(list(cells), ()),
        destination=destination,
        assignment=make_assignment(partition),
    )


CELLS = st.lists(st.text(st.sampled_from('ab,"\n;é🙂'), max_size=6), min_size=23, max_size=23)
STEPS = st.one_of(
    st.tuples(
        st.just("add"),
        st.lists(st.tuples(CELLS, st.sampled_from([HERE, THERE]), st.integers(0, 1)), max_size=4),
    ),
    st.tuples(st.sampled_from(["due", "drain", "take back"]), st.integers(0, 1)),
)


@examples(80)
@given(st.lists(STEPS, max_size=12), st.integers(1, 5), st.integers(0, 300))
def test_every_row_comes_out_once_in_order_and_reads_back(
    steps: list[tuple[str, Any]], rows_max: int, room_bytes: int
) -> None:
    batcher = make_batcher(rows_max, HEADER_BYTES + room_bytes, 1.0)
    added: dict[int, list[str]] = {}
    taken_back: list[Row] = []
    batches: list[Batch] = []
    for moment, (step, detail) in enumerate(steps):
        if step == "add":
            rows = [csv_row(len(added) + index, *one) for index, one in enumerate(detail)]
            added |= {row.record.offset: one[0] for row, one in zip(rows, detail, strict=True)}
            batches += [one.batch for one in batcher.add(rows, moment / 2)]
        elif step == "take back":
            taken_back += batcher.take_back({make_assignment(detail)})
        else:
            sealed = (
                batcher.due(moment / 2)
                if step == "due"
                else batcher.drain({make_assignment(detail)})
            )
            batches += [one.batch for one in sealed]
    batches += [one.batch for one in batcher.drain({FIRST, SECOND})]
    for batch in batches:
        assert_whole(batch)
    offsets = [row.record.offset for batch in batches for row in batch.rows] + [
        row.record.offset for row in taken_back
    ]
    assert sorted(offsets) == list(added)
    assert batcher.rows == 0
    assert len({batch.id for batch in batches}) == len(batches)
    orders: dict[Destination, list[int]] = defaultdict(list)
    for batch in batches:
        assert_whole(batch)
        assert len(batch.rows) <= rows_max
        assert len(batch.rows) == 1 or batch.body_bytes <= HEADER_BYTES + room_bytes
        assert parse_csv(batch.body())[1:] == [added[row.record.offset] for row in batch.rows]
        orders[batch.destination] += [row.record.offset for row in batch.rows]
    assert all(order == sorted(order) for order in orders.values())


def test_rows_of_an_ordered_resource_keep_their_order_where_they_fill_different_columns() -> None:
    some = Destination("profiles", 1111, Identity.PROFILE_ID, filled=0b011)
    others = some._replace(filled=0b111)
    rows = [make_row(offset, destination=(some, others)[offset % 2]) for offset in range(3)]
    batcher = Batcher(BatchLimits(100, 10**6, 1.0), "worker", ordered=("profiles",))
    sealed = batcher.add(rows, 0.0)
    assert [one.trigger for one in sealed] == [FlushTrigger.ORDER] * 2
    sealed += batcher.due(1.0)
    assert [one.batch.rows for one in sealed] == [(row,) for row in rows]


def test_rows_of_another_resource_wait_in_one_batch_for_each_set_of_columns() -> None:
    some = Destination("events", 1111, Identity.PROFILE_ID, filled=0b011)
    others = some._replace(filled=0b111)
    rows = [make_row(offset, destination=(some, others)[offset % 2]) for offset in range(3)]
    batcher = Batcher(BatchLimits(100, 10**6, 1.0), "worker", ordered=("profiles",))
    assert batcher.add(rows, 0.0) == []
    assert [len(one.batch.rows) for one in batcher.due(1.0)] == [2, 1]

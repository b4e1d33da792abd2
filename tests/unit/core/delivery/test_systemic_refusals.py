"""An API that refuses everything shows that its rows are not at fault."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_batch, make_destination
from tests.searches import examples
from tests.unit.core.delivery.refusing_api import (
    Api,
    Requests,
    offsets,
)
from worker.core.delivery.bisection import (
    Halved,
    ProvenBad,
    Unproven,
)
from worker.core.model.batch import Batch


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

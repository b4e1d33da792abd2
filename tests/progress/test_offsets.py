"""Offsets: what is to be committed, what has been, and how assignments come and go."""

from __future__ import annotations

import pytest

from tests.builders import make_assignment
from worker.model.record import Start
from worker.model.standing import Standing
from worker.progress.offsets import Offsets

FIRST, SECOND = make_assignment(0), make_assignment(1)
FIRST_AGAIN = make_assignment(0, epoch=2)


def make_offsets() -> Offsets:
    offsets = Offsets()
    offsets.assign(Start(FIRST, position=10, committed=10))
    offsets.assign(Start(SECOND, position=0, committed=None))
    return offsets


def test_an_assignment_is_known_from_its_start_until_it_is_removed() -> None:
    offsets = make_offsets()
    assert (set(offsets), len(offsets)) == ({FIRST, SECOND}, 2)
    offsets.remove([FIRST, FIRST])
    assert (FIRST in offsets, list(offsets)) == (False, [SECOND])
    with pytest.raises(KeyError):
        offsets.tracker(FIRST)


def test_a_partition_that_comes_back_is_another_assignment() -> None:
    offsets = make_offsets()
    offsets.tracker(FIRST).track([10], 11)
    offsets.remove([FIRST])
    offsets.assign(Start(FIRST_AGAIN, position=10, committed=10))
    assert offsets.standing(FIRST) is Standing.GONE
    assert offsets.tracker(FIRST_AGAIN).unsettled == 0


def test_an_assignment_is_ours_then_drains_then_is_gone() -> None:
    offsets = make_offsets()
    assert offsets.standing(FIRST) is Standing.OURS
    offsets.drain([FIRST, FIRST_AGAIN])
    assert offsets.standing(FIRST) is Standing.DRAINING
    assert offsets.standing(SECOND) is Standing.OURS
    assert offsets.standing(FIRST_AGAIN) is Standing.GONE
    offsets.remove([FIRST])
    assert offsets.standing(FIRST) is Standing.GONE


def test_only_positions_that_the_broker_does_not_have_are_to_be_committed() -> None:
    offsets = make_offsets()
    assert offsets.to_commit() == {SECOND: 0}, "a first commit, even of the start, pins the group's place"
    offsets.tracker(FIRST).track([10, 11], 12)
    assert offsets.to_commit() == {SECOND: 0}
    offsets.tracker(FIRST).settle(11)
    assert FIRST not in offsets.to_commit()
    offsets.tracker(FIRST).settle(10)
    assert offsets.to_commit() == {FIRST: 12, SECOND: 0}
    offsets.commit({FIRST: 12, SECOND: 0})
    assert offsets.to_commit() == {}
    assert (offsets.committed(FIRST), offsets.committed(SECOND)) == (12, 0)


def test_what_is_settled_while_a_commit_is_under_way_is_committed_by_the_next() -> None:
    offsets = make_offsets()
    offsets.tracker(FIRST).track([10, 11], 12)
    offsets.tracker(FIRST).settle(10)
    positions = offsets.to_commit()
    offsets.tracker(FIRST).settle(11)
    offsets.commit(positions)
    assert offsets.to_commit() == {FIRST: 12}


def test_an_acknowledgement_for_what_is_removed_is_passed_over() -> None:
    offsets = make_offsets()
    offsets.remove([FIRST])
    offsets.commit({FIRST: 99})
    assert FIRST not in offsets


def test_motion_and_unsettled_records_are_counted_over_assignments() -> None:
    offsets = make_offsets()
    offsets.tracker(FIRST).track([10, 11], 12)
    offsets.tracker(SECOND).track([0], 1)
    offsets.tracker(FIRST).give_back(1)
    assert offsets.in_motion([FIRST]) == 1
    assert offsets.in_motion([FIRST, SECOND, FIRST_AGAIN]) == 2
    assert offsets.unsettled() == 3

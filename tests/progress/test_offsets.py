"""Offsets: what is to be committed, what has been, and how assignments come and go."""

from __future__ import annotations

import pytest

from tests.builders import make_assignment
from worker.model.record import Assignment, Position, Start
from worker.model.standing import Standing
from worker.progress import hints
from worker.progress.offsets import SPAN_ALWAYS_HINTED, Offsets

FIRST, SECOND = make_assignment(0), make_assignment(1)
FIRST_AGAIN = make_assignment(0, epoch=2)


def to_commit(offsets: Offsets) -> dict[Assignment, int]:
    """The positions alone."""
    return {assignment: position.offset for assignment, position in offsets.to_commit().items()}


def make_offsets() -> Offsets:
    offsets = Offsets(1000)
    offsets.assign(Start(FIRST, position=10, committed=Position(10, hints.encode(10, 10, []))))
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
    offsets.assign(Start(FIRST_AGAIN, position=10, committed=Position(10)))
    assert offsets.standing(FIRST) is Standing.GONE
    assert offsets.tracker(FIRST_AGAIN).unsettled == 0


def test_an_assignment_is_ours_then_drains_then_is_gone() -> None:
    offsets = make_offsets()
    assert offsets.standing(FIRST) is Standing.OURS
    offsets.drain([FIRST, FIRST_AGAIN])
    assert offsets.standing(FIRST) is Standing.DRAINING
    assert offsets.standing(SECOND) is Standing.OURS
    assert offsets.standing(FIRST_AGAIN) is Standing.GONE
    offsets.end_sending([FIRST])
    offsets.drain([FIRST])
    assert offsets.standing(FIRST) is Standing.ENDING, "a stop in the middle of a revocation starts nothing anew"
    offsets.remove([FIRST])
    assert offsets.standing(FIRST) is Standing.GONE


def test_only_positions_that_the_broker_does_not_have_are_to_be_committed() -> None:
    offsets = make_offsets()
    assert to_commit(offsets) == {SECOND: 0}, "a first commit, even of the start, pins the group's place"
    offsets.tracker(FIRST).track([10, 11], 12)
    assert to_commit(offsets) == {SECOND: 0}
    offsets.tracker(FIRST).settle(11)
    assert offsets.to_commit()[FIRST].offset == 10
    offsets.tracker(FIRST).settle(10)
    assert to_commit(offsets) == {FIRST: 12, SECOND: 0}
    offsets.commit(offsets.to_commit())
    assert offsets.to_commit() == {}
    assert [position.offset for position in (offsets.committed(FIRST), offsets.committed(SECOND)) if position] == [12, 0]


def test_what_is_settled_while_a_commit_is_under_way_is_committed_by_the_next() -> None:
    offsets = make_offsets()
    offsets.tracker(FIRST).track([10, 11], 12)
    offsets.tracker(FIRST).settle(10)
    positions = offsets.to_commit()
    offsets.tracker(FIRST).settle(11)
    offsets.commit(positions)
    assert to_commit(offsets) == {FIRST: 12}


def test_an_acknowledgement_for_what_is_removed_is_passed_over() -> None:
    offsets = make_offsets()
    offsets.remove([FIRST])
    offsets.commit({FIRST: Position(99)})
    assert FIRST not in offsets


def test_motion_and_unsettled_records_are_counted_over_assignments() -> None:
    offsets = make_offsets()
    offsets.tracker(FIRST).track([10, 11], 12)
    offsets.tracker(SECOND).track([0], 1)
    offsets.tracker(FIRST).give_back(1)
    assert offsets.in_motion([FIRST]) == 1
    assert offsets.in_motion([FIRST, SECOND, FIRST_AGAIN]) == 2
    assert offsets.unsettled() == 3


class TestHints:
    def test_the_next_life_of_a_partition_skips_what_was_settled_above_its_position(self) -> None:
        offsets = make_offsets()
        offsets.tracker(FIRST).track(range(10, 20), 20)
        for offset in (12, 13, 17):
            offsets.tracker(FIRST).settle(offset)
        position = offsets.to_commit()[FIRST]
        assert position.offset == 10
        offsets.remove([FIRST])
        assert offsets.assign(Start(FIRST_AGAIN, 10, position, end=20))
        tracker = offsets.tracker(FIRST_AGAIN)
        assert [offset for offset in range(10, 20) if tracker.is_settled(offset)] == [12, 13, 17]

    def test_a_commit_that_only_settles_above_the_position_is_made_too(self) -> None:
        offsets = make_offsets()
        offsets.tracker(FIRST).track(range(10, 20), 20)
        offsets.commit(offsets.to_commit())
        offsets.tracker(FIRST).settle(15)
        assert offsets.to_commit()[FIRST] == Position(10, hints.encode(10, 10, [(15, 16)]))

    @pytest.mark.parametrize(
        ("committed", "end", "is_understood"),
        [
            (None, 100, True),
            (Position(10), 100, True),
            (Position(10, hints.encode(10, 10, [(12, 14)])), 14, True),
            (Position(10, hints.encode(10, 10, [(12, 14)])), 13, False),
            (Position(10, "somebody else's"), 100, False),
        ],
        ids=["no commit", "no metadata", "hints", "the partition was cut off below them", "foreign metadata"],
    )
    def test_what_can_be_used_is_told(self, committed: Position | None, end: int, is_understood: bool) -> None:
        assert Offsets(1000).assign(Start(FIRST, 10, committed, end)) == is_understood

    def test_hints_do_not_count_where_reading_starts_elsewhere(self) -> None:
        offsets = Offsets(1000)
        offsets.assign(Start(FIRST, 50, Position(10, hints.encode(10, 10, [(60, 70)])), 100))
        assert not offsets.tracker(FIRST).foresees

    def test_the_span_shrinks_before_hints_find_no_room_and_grows_again(self) -> None:
        offsets = Offsets(20_000)
        offsets.assign(Start(FIRST, 0, None))
        tracker = offsets.tracker(FIRST)
        tracker.track(range(20_000), 20_000)
        for offset in range(1, 20_000, 2):
            tracker.settle(offset)
        spans = []
        for _ in range(6):
            assert len(offsets.to_commit()[FIRST].metadata) <= hints.METADATA_CHARACTERS_MAX
            spans.append(offsets.reach(FIRST).span_max)
        assert spans == [10_000, 5000, 2500, 1250, SPAN_ALWAYS_HINTED, SPAN_ALWAYS_HINTED]
        for offset in range(0, 20_000, 2):
            tracker.settle(offset)
        for _ in range(6):
            offsets.to_commit()
        assert offsets.reach(FIRST).span_max == 20_000

    def test_the_least_span_always_finds_room(self) -> None:
        ranges = [(2**40 + offset, 2**40 + offset + 1) for offset in range(1, SPAN_ALWAYS_HINTED, 2)]
        assert hints.decode(2**40, hints.encode(2**40, 0, ranges)) == hints.Hints(0, tuple(ranges))

"""The tracker: the safe position never passes an unsettled record."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.searches import examples
from worker.core.progress.tracker import Tracker
from worker.core.wire.commit_metadata import decode, encode


def tracker_with(*offsets: int, position: int = 0, next_offset: int | None = None) -> Tracker:
    tracker = Tracker(position)
    tracker.track(offsets, offsets[-1] + 1 if next_offset is None else next_offset)
    return tracker


def test_a_tracker_without_records_is_safe_where_it_starts() -> None:
    tracker = Tracker(42)
    assert (
        tracker.position,
        tracker.safe_position,
        tracker.unsettled,
        tracker.in_motion,
        tracker.span,
    ) == (42, 42, 0, 0, 0)


def test_the_first_unsettled_record_is_the_safe_position_whatever_is_settled_above_it() -> None:
    tracker = tracker_with(0, 1, 2, 3)
    for offset in (3, 1, 2):
        tracker.settle([offset])
        assert tracker.safe_position == 0
    assert tracker.span == 4
    tracker.settle([0])
    assert (tracker.safe_position, tracker.span) == (4, 0)


def test_with_all_settled_the_position_after_markers_is_safe() -> None:
    tracker = tracker_with(5, 9, position=5, next_offset=12)
    assert tracker.safe_position == 5
    tracker.settle([5])
    assert tracker.safe_position == 9, "a gap is nobody's unsettled record"
    tracker.settle([9])
    assert tracker.safe_position == 12


def test_a_chunk_without_records_moves_the_position() -> None:
    tracker = Tracker(5)
    tracker.track([], 8)
    assert (tracker.safe_position, tracker.position) == (8, 8)


def test_a_position_that_goes_back_is_refused() -> None:
    tracker = tracker_with(0, 1)
    with pytest.raises(ValueError, match="position 1 is below 2"):
        tracker.track([], 1)


@pytest.mark.parametrize("offset", [0, 7], ids=["settled before", "never received"])
def test_what_is_not_unsettled_cannot_be_settled(offset: int) -> None:
    tracker = tracker_with(0, 1)
    tracker.settle([0])
    with pytest.raises(KeyError):
        tracker.settle([offset])


def test_records_given_back_are_unsettled_but_no_longer_in_motion() -> None:
    tracker = tracker_with(0, 1, 2)
    tracker.give_back(2)
    assert (tracker.unsettled, tracker.in_motion, tracker.safe_position) == (3, 1, 0)
    tracker.settle([1])
    assert (tracker.unsettled, tracker.in_motion) == (2, 0)


def test_no_more_can_be_given_back_than_is_unsettled() -> None:
    tracker = tracker_with(0, 1)
    tracker.give_back(2)
    with pytest.raises(ValueError, match="3 records given back of 2 unsettled"):
        tracker.give_back(1)


@examples(150)
@given(
    st.lists(
        st.one_of(st.lists(st.integers(0, 3), max_size=5), st.randoms(use_true_random=False)),
        max_size=25,
    )
)
def test_the_tracker_agrees_with_a_plain_set(steps: list[object]) -> None:
    tracker, unsettled, position = Tracker(100), set[int](), 100
    for step in steps:
        if isinstance(step, list):
            offsets = []
            for gap in step:
                offsets.append(position + gap)
                position += gap + 1
            tracker.track(offsets, position)
            unsettled |= set(offsets)
        elif unsettled:
            offset = step.choice(sorted(unsettled))  # type: ignore[attr-defined]
            tracker.settle([offset])
            unsettled.remove(offset)
        assert tracker.safe_position == min(unsettled, default=position)
        assert (tracker.position, tracker.unsettled, tracker.in_motion) == (
            position,
            len(unsettled),
            len(unsettled),
        )
        assert tracker.span == position - min(unsettled, default=position)


class TestEarlierLives:
    def test_what_was_settled_in_an_earlier_life_is_known_when_it_comes_again(self) -> None:
        tracker = Tracker(10, [(12, 14), (20, 21)])
        assert [offset for offset in range(10, 25) if tracker.is_settled(offset)] == [12, 13, 20]
        assert not tracker.covers

    def test_it_is_passed_on_until_it_has_been_received(self) -> None:
        tracker = Tracker(10, [(12, 14), (20, 21)])
        assert tracker.settled_ranges() == [(12, 14), (20, 21)]
        received = [offset for offset in range(10, 13) if not tracker.is_settled(offset)]
        tracker.track(received, 13)
        assert received == [10, 11]
        assert tracker.settled_ranges() == [(12, 14), (20, 21)]
        tracker.settle([11])
        assert tracker.settled_ranges() == [(11, 14), (20, 21)]
        tracker.settle([10])
        # All that was received is settled, and the next one was before.
        assert (tracker.safe_position, tracker.settled_ranges()) == (13, [(13, 14), (20, 21)])

    @examples(200)
    @given(st.integers(1, 40), st.integers(0, 40), st.randoms(use_true_random=False))
    def test_the_ranges_are_what_a_plain_set_says(
        self, count: int, settled: int, chance: Random
    ) -> None:
        gaps = {offset for offset in range(count) if chance.random() < 0.2}
        offsets = [offset for offset in range(count) if offset not in gaps]
        tracker = Tracker(0)
        tracker.track(offsets, count)
        unsettled = set(offsets)
        for offset in chance.sample(offsets, min(settled, len(offsets))):
            tracker.settle([offset])
            unsettled.remove(offset)
        named = {offset for start, end in tracker.settled_ranges() for offset in range(start, end)}
        assert named == {
            offset for offset in range(tracker.safe_position, count) if offset not in unsettled
        }
        assert all(start > tracker.safe_position for start, _ in tracker.settled_ranges())
        # And a next life skips exactly these.
        again = Tracker(tracker.safe_position, tracker.settled_ranges())
        left = [
            offset
            for offset in offsets
            if offset >= tracker.safe_position and not again.is_settled(offset)
        ]
        assert left == sorted(unsettled)

    @examples(300)
    @given(
        st.lists(st.booleans(), max_size=30), st.integers(0, 30), st.randoms(use_true_random=False)
    )
    def test_nothing_that_is_settled_is_forgotten_whatever_has_been_received_again(
        self, earlier: list[bool], received: int, chance: Random
    ) -> None:
        settled = {offset for offset, was_settled in enumerate(earlier) if was_settled}
        tracker = Tracker(0, [(offset, offset + 1) for offset in sorted(settled)])
        position = min(received, len(earlier))
        fresh = [offset for offset in range(position) if not tracker.is_settled(offset)]
        tracker.track(fresh, position)
        for offset in chance.sample(fresh, chance.randint(0, len(fresh))):
            tracker.settle([offset])
            settled.add(offset)
        named = {offset for start, end in tracker.settled_ranges() for offset in range(start, end)}
        assert named == {offset for offset in settled if offset >= tracker.safe_position}
        assert (
            decode(
                tracker.safe_position, encode(tracker.safe_position, 0, tracker.settled_ranges())
            )
            is not None
        )

"""Progress of every assignment, and what is left of it when it goes away."""

from __future__ import annotations

from random import Random

import pytest

from tests.builders import TOPIC, make_assignment, make_ledger, make_record, make_rows, now_at
from worker.core.model.batch import shares_of
from worker.core.model.event import Received
from worker.core.model.record import Assignment, AssignmentState, Position, Start
from worker.core.progress.ledger import Ledger
from worker.core.progress.offsets import SPAN_RECORDS_MIN, Left, Offsets
from worker.core.wire import commit_metadata

FIRST, SECOND = make_assignment(0), make_assignment(1)
FIRST_AGAIN = make_assignment(0, epoch=2)
CHUNK = 1000


def to_commit(offsets: Offsets) -> dict[Assignment, int]:
    """The positions alone."""
    return {assignment: position.offset for assignment, position in offsets.to_commit().items()}


def make_offsets() -> Offsets:
    offsets = Offsets(1000, CHUNK)
    offsets.assign(
        Start(FIRST, position=10, committed=Position(10, commit_metadata.encode(10, 10, [])))
    )
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
    assert offsets.state(FIRST) is AssignmentState.RELEASED
    assert offsets.tracker(FIRST_AGAIN).unsettled == 0


def test_an_assignment_is_ours_then_drains_then_is_gone() -> None:
    offsets = make_offsets()
    assert offsets.state(FIRST) is AssignmentState.ASSIGNED
    offsets.drain([FIRST, FIRST_AGAIN])
    assert offsets.state(FIRST) is AssignmentState.DRAINING
    assert offsets.state(SECOND) is AssignmentState.ASSIGNED
    assert offsets.state(FIRST_AGAIN) is AssignmentState.RELEASED
    offsets.end_sending([FIRST])
    offsets.drain([FIRST])
    assert offsets.state(FIRST) is AssignmentState.AWAITING_ANSWERS, (
        "a stop in the middle of a revocation starts nothing anew"
    )
    offsets.remove([FIRST])
    assert offsets.state(FIRST) is AssignmentState.RELEASED


def test_only_positions_that_the_broker_does_not_have_are_to_be_committed() -> None:
    offsets = make_offsets()
    assert to_commit(offsets) == {SECOND: 0}, (
        "a first commit, even of the start, pins the group's place"
    )
    offsets.tracker(FIRST).track([10, 11], 12)
    assert to_commit(offsets) == {SECOND: 0}
    offsets.tracker(FIRST).settle([11])
    assert offsets.to_commit()[FIRST].offset == 10
    offsets.tracker(FIRST).settle([10])
    assert to_commit(offsets) == {FIRST: 12, SECOND: 0}
    offsets.commit(offsets.to_commit())
    assert offsets.to_commit() == {}
    assert [
        position.offset
        for position in (offsets.committed(FIRST), offsets.committed(SECOND))
        if position
    ] == [12, 0]


def test_what_is_settled_while_a_commit_is_under_way_is_committed_by_the_next() -> None:
    offsets = make_offsets()
    offsets.tracker(FIRST).track([10, 11], 12)
    offsets.tracker(FIRST).settle([10])
    positions = offsets.to_commit()
    offsets.tracker(FIRST).settle([11])
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
    assert [offsets.left(one).unsettled for one in offsets] == [2, 1]


class TestHints:
    def test_the_next_life_of_a_partition_skips_what_was_settled_above_its_position(self) -> None:
        offsets = make_offsets()
        offsets.tracker(FIRST).track(range(10, 20), 20)
        for offset in (12, 13, 17):
            offsets.tracker(FIRST).settle([offset])
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
        offsets.tracker(FIRST).settle([15])
        assert offsets.to_commit()[FIRST] == Position(
            10, commit_metadata.encode(10, 10, [(15, 16)])
        )

    @pytest.mark.parametrize(
        ("committed", "end", "is_understood"),
        [
            (None, 100, True),
            (Position(10), 100, True),
            (Position(10, commit_metadata.encode(10, 10, [(12, 14)])), 14, True),
            (Position(10, commit_metadata.encode(10, 10, [(12, 14)])), 13, False),
            (Position(10, "somebody else's"), 100, False),
        ],
        ids=[
            "no commit",
            "no metadata",
            "hints",
            "the partition was cut off below them",
            "foreign metadata",
        ],
    )
    def test_what_can_be_used_is_returned(
        self, committed: Position | None, end: int, is_understood: bool
    ) -> None:
        assert Offsets(1000, CHUNK).assign(Start(FIRST, 10, committed, end)) == is_understood

    def test_hints_do_not_count_where_reading_starts_elsewhere(self) -> None:
        offsets = Offsets(1000, CHUNK)
        offsets.assign(
            Start(FIRST, 50, Position(10, commit_metadata.encode(10, 10, [(60, 70)])), 100)
        )
        assert not offsets.tracker(FIRST).covers

    @pytest.mark.parametrize("limit", [4096, 1024, 512])
    @pytest.mark.parametrize("seed", range(3))
    def test_all_that_is_settled_finds_room_whatever_the_order(self, limit: int, seed: int) -> None:
        """Receive records of a partition until it is paused, each before a marker."""
        chance = Random(seed)
        offsets = Offsets(20_000, CHUNK)
        if limit < commit_metadata.METADATA_CHARACTERS_MAX:
            assert offsets.limit_metadata([Position(0, "x" * (limit + 1))]) == limit
        offsets.assign(Start(FIRST, 0, None))
        tracker = offsets.tracker(FIRST)
        while tracker.span < offsets.reach(FIRST).span_max:
            tracker.track(
                range(tracker.position, tracker.position + 2 * CHUNK, 2),
                tracker.position + 2 * CHUNK,
            )
        settled = chance.sample(range(0, tracker.position, 2), tracker.unsettled // 2)
        for offset in settled:
            tracker.settle([offset])
            if chance.random() < 0.005:
                assert self.named(offsets) == tuple(tracker.settled_ranges())
        position = offsets.to_commit()[FIRST]
        assert len(position.metadata) <= limit
        assert self.named(offsets) == tuple(tracker.settled_ranges())

    @staticmethod
    def named(offsets: Offsets) -> tuple[tuple[int, int], ...]:
        found = commit_metadata.decode(*offsets.to_commit()[FIRST])
        assert found is not None
        return found.settled

    def test_a_partition_may_reach_as_far_as_is_asked_for_while_all_of_it_can_be_named(
        self,
    ) -> None:
        offsets = Offsets(20_000, CHUNK)
        offsets.assign(Start(FIRST, 0, None))
        assert offsets.reach(FIRST).span_max == 20_000
        assert offsets.limit_metadata([Position(0, "x" * 600)]) == 512
        assert offsets.reach(FIRST).span_max == commit_metadata.span_named(512) - 2 * CHUNK == 952
        offsets.assign(Start(SECOND, 0, None))
        assert offsets.reach(SECOND).span_max == 952, (
            "what is known of the broker holds for all partitions"
        )
        assert offsets.limit_metadata([Position(0, "x" * 90)]) == 64
        assert offsets.reach(FIRST).span_max == SPAN_RECORDS_MIN

    def test_a_limit_is_found_from_refusals_and_ends_with_no_metadata_at_all(self) -> None:
        offsets = make_offsets()
        assert offsets.limit_metadata([]) is None
        assert offsets.limit_metadata([Position(0, "x" * 3000), Position(0, "x" * 800)]) == 768
        assert offsets.limit_metadata([Position(0, "x" * 600)]) == 512
        assert offsets.limit_metadata([Position(0, "x" * 600)]) is None, (
            "a refusal from before says nothing new"
        )
        limits = []
        while (position := offsets.to_commit()[SECOND]).metadata:
            limits.append(offsets.limit_metadata([position]))
        assert limits == [8]
        assert offsets.to_commit()[SECOND] == Position(0)

    def test_a_span_wider_than_what_can_be_named_shrinks_with_scattered_completion_and_grows_again(
        self,
    ) -> None:
        offsets = Offsets(200_000, CHUNK)
        offsets.assign(Start(FIRST, 0, None))
        tracker = offsets.tracker(FIRST)
        tracker.track(range(20_000), 20_000)
        for offset in range(1, 20_000, 2):
            tracker.settle([offset])
        spans = []
        for _ in range(5):
            assert (
                len(offsets.to_commit()[FIRST].metadata) <= commit_metadata.METADATA_CHARACTERS_MAX
            )
            spans.append(offsets.reach(FIRST).span_max)
        named = commit_metadata.span_named() - 2 * CHUNK
        assert spans == [100_000, 50_000, 25_000, named, named]
        for offset in range(0, 20_000, 2):
            tracker.settle([offset])
        for _ in range(6):
            offsets.to_commit()
        assert offsets.reach(FIRST).span_max == 200_000


FIRST, AGAIN = make_assignment(0), make_assignment(0, epoch=2)


def with_three_of_five_settled() -> Ledger:
    ledger = make_ledger(TOPIC)
    ledger.assign([Start(FIRST, 10, Position(10))])
    records = [make_record(offset) for offset in range(10, 15)]
    ledger.receive(Received(FIRST, records, 15), now_at())
    rows = make_rows(5, start=10)
    ledger.reserve(rows)
    ledger.deliver(shares_of(rows[:3]), now_at(0))
    return ledger


def test_what_is_settled_is_left_until_it_is_committed() -> None:
    ledger = with_three_of_five_settled()
    assert ledger.left() == Left(unsettled=2, uncommitted=3)
    ledger.offsets.commit({FIRST: Position(13)})
    assert ledger.left() == Left(unsettled=2)


def test_what_was_never_committed_counts_from_where_it_began() -> None:
    ledger = make_ledger(TOPIC)
    ledger.assign([Start(FIRST, 10, None)])
    assert not any(ledger.left())
    ledger.receive(Received(FIRST, [], 12), now_at())
    assert ledger.left() == Left(uncommitted=2)


def test_what_a_partition_leaves_behind_is_left_while_it_is_nobodys() -> None:
    ledger = with_three_of_five_settled()
    ledger.remove([FIRST])
    assert ledger.left() == Left(2, 3)
    ledger.abandoned.keep_only({FIRST.topic_partition})
    assert ledger.left() == Left(2, 3), "it is to be ours again, and has not begun"
    ledger.assign([Start(AGAIN, 10, Position(10))])
    assert not any(ledger.left()), "it is received again"


def test_what_another_member_has_is_left_no_more() -> None:
    ledger = with_three_of_five_settled()
    ledger.remove([FIRST])
    ledger.abandoned.keep_only(frozenset())
    assert not any(ledger.left())


def test_a_partition_that_leaves_nothing_is_not_remembered() -> None:
    ledger = make_ledger(TOPIC)
    ledger.assign([Start(FIRST, 10, Position(10))])
    ledger.remove([FIRST])
    assert not any(ledger.left())

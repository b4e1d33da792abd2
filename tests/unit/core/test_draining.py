"""Drains: over when nothing is in motion, or when their time is up; each ends with one commit."""

from __future__ import annotations

import pytest

from tests.unit.core.pipeline_world import FIRST, SECOND, World, committed, event, ok, only, posted
from worker.core.draining import DrainGoal, Draining
from worker.core.model.batch import Batch
from worker.core.model.command import Commit, Finish, Release
from worker.core.model.event import Committed
from worker.core.model.record import Assignment, AssignmentState
from worker.core.settlement import RowFlow


class Drained(World):
    """A world whose drains are driven by hand, beside its pipeline. Times are `seconds`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.assign(FIRST, SECOND)
        self.drains = Draining(self.components, RowFlow(self.components))

    def send(self, assignment: Assignment) -> Batch:
        """Have a row of this partition in flight."""
        self.receive(event(0, profile_id=str(assignment)), assignment=assignment)
        (batch,) = posted(self.wait(1.0))
        return batch

    def begin(
        self, *assignments: Assignment, until: float, goal: DrainGoal = DrainGoal.RELEASE
    ) -> None:
        self.drains.begin(goal, assignments, until, self.now)

    def released(self) -> list[tuple[Assignment, ...]]:
        """The partitions released by one more step, with commits acknowledged at once."""
        commands = self.drains.advance(self.now)
        for commit in only(Commit, commands):
            self.ledger.commit(Committed(commit.positions, 0.01), self.now)
            commands += self.drains.advance(self.now)
        return [release.assignments for release in only(Release, commands)]


def at(seconds: float, world: Drained) -> Drained:
    world.seconds = seconds
    return world


@pytest.fixture
def world() -> Drained:
    return Drained()


def test_a_drain_is_over_when_nothing_of_it_is_in_motion(world: Drained) -> None:
    batch = world.send(FIRST)
    world.begin(FIRST, until=200.0)
    assert world.released() == []
    world.components.dispatcher.answer(batch.id, ok(), world.now)
    world.ledger.deliver(batch.shares, world.now)
    assert world.released() == [(FIRST,)]
    assert world.ledger.offsets.state(FIRST) is AssignmentState.RELEASED


def test_a_drain_is_over_when_its_time_is_up(world: Drained) -> None:
    world.send(FIRST)
    world.begin(FIRST, until=200.0)
    assert at(199.9, world).released() == []
    assert at(200.0, world).released() == [(FIRST,)]
    assert world.drains.next_deadline() is None


def test_in_the_last_third_of_a_drain_nothing_is_sent(world: Drained) -> None:
    world.send(FIRST)
    start = world.seconds
    world.begin(FIRST, until=start + 9.0)
    assert world.drains.next_deadline() == start + 6.0
    at(start + 5.9, world).released()
    assert world.ledger.offsets.state(FIRST) is AssignmentState.DRAINING
    at(start + 6.0, world).released()
    assert world.ledger.offsets.state(FIRST) is AssignmentState.AWAITING_ANSWERS
    assert world.drains.next_deadline() == start + 9.0


def test_a_drain_commits_once_and_again_only_if_asked_to(world: Drained) -> None:
    batch = world.send(FIRST)
    world.begin(FIRST, until=200.0)
    world.components.dispatcher.answer(batch.id, ok(), world.now)
    world.ledger.deliver(batch.shares, world.now)
    assert committed(world.drains.advance(world.now)) == {FIRST: 1}
    assert world.drains.advance(world.now) == [], "its commit is in flight"
    world.ledger.commits.fail()
    world.drains.commit_again()
    assert committed(world.drains.advance(world.now)) == {FIRST: 1}
    world.ledger.commits.fail()
    assert only(Release, world.drains.advance(world.now)) == [Release((FIRST,))]


def test_several_drains_go_on_beside_each_other_oldest_first(world: Drained) -> None:
    world.send(FIRST)
    world.send(SECOND)
    world.begin(FIRST, until=210.0)
    world.begin(SECOND, until=205.0)
    assert at(205.0, world).released() == [(SECOND,)]
    assert at(210.0, world).released() == [(FIRST,)]


def test_a_stop_ends_with_finish_and_not_with_a_release(world: Drained) -> None:
    world.begin(FIRST, until=200.0)
    seen = [world.drains.is_stopping]
    world.begin(SECOND, until=200.0, goal=DrainGoal.STOP)
    seen.append(world.drains.is_stopping)
    commands = world.drains.advance(world.now)
    assert only(Release, commands) == [Release((FIRST,))]
    assert only(Finish, commands) == [Finish(0, 0)]
    assert (seen, world.drains.is_stopping, world.drains.is_finished) == ([False, True], True, True)


def test_without_a_drain_there_is_no_deadline(world: Drained) -> None:
    assert world.drains.next_deadline() is None

"""Stories of revocations, losses and stops: what is flushed, what is awaited, what is left."""

from __future__ import annotations

from random import Random

import pytest

from tests.builders import TOPIC, FakeRecord
from tests.searches import some_of
from tests.unit.core.pipeline_world import (
    FIRST,
    SECOND,
    World,
    committed,
    event,
    ok,
    only,
    posted,
    status,
)
from worker.core.model.answer import Answer
from worker.core.model.command import (
    Command,
    Finish,
    Release,
    StopIntake,
    WriteDeadLetters,
)
from worker.core.model.event import (
    CommitFailed,
    Committed,
    DeadLettersAcknowledged,
    Distributed,
    Lost,
    Received,
    Revoked,
    StopRequested,
)
from worker.core.model.record import Assignment, Position


class TestRebalances:
    def test_a_revocation_flushes_what_is_open_waits_commits_and_lets_go(
        self, world: World
    ) -> None:
        world.receive(event(0), event(1))
        commands = world.handle(Revoked((FIRST, SECOND), world.seconds + 10))
        (batch,) = posted(commands)
        assert only(Release, commands) == []
        commands = world.answer(batch, ok())
        assert committed(commands) == {FIRST: 2}
        assert only(Release, commands) == []
        commands = world.handle(Committed({FIRST: Position(2)}, 0.01))
        assert only(Release, commands) == [Release((FIRST, SECOND))]

    def test_what_waits_for_its_next_attempt_is_given_back(self, world: World) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, status(503))
        commands = world.handle(Revoked((FIRST, SECOND), world.seconds + 10))
        assert only(Release, commands) == [Release((FIRST, SECOND))]
        assert posted(world.wait(60.0)) == []
        assert world.ledger.counters.topics[TOPIC].given_back == 1
        assert world.ledger.memory.held_bytes == 0

    def test_a_retry_answer_during_the_drain_gives_the_rows_back(self, world: World) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.handle(Revoked((FIRST, SECOND), world.seconds + 10))
        commands = world.answer(batch, status(503))
        assert only(Release, commands) == [Release((FIRST, SECOND))]

    def test_after_the_deadline_a_late_200_commits_nothing(self, world: World) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.handle(Revoked((FIRST, SECOND), world.seconds + 10))
        commands = world.wait(10.0)
        assert only(Release, commands) == [Release((FIRST, SECOND))]
        assert committed(world.answer(batch, ok())) == {}
        assert committed(world.wait(5.0)) == {}
        assert world.ledger.memory.held_bytes == 0

    def test_a_late_200_settles_the_same_event_received_again_in_the_new_epoch(
        self, world: World
    ) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.handle(Revoked((FIRST, SECOND), world.seconds + 10))
        world.wait(10.0)
        again = Assignment(TOPIC, 0, 3)
        world.assign(again)
        world.receive(event(0), assignment=again)
        assert posted(world.wait(1.0)) == []
        world.answer(batch, ok())
        assert world.ledger.offsets.tracker(again).safe_position == 1

    def test_lost_partitions_are_not_committed(self, world: World) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.handle(Lost((FIRST, SECOND)))
        assert committed(world.answer(batch, ok())) == {}
        assert committed(world.wait(5.0)) == {}

    def test_records_of_a_partition_that_is_gone_are_not_taken(self, world: World) -> None:
        world.handle(Lost((FIRST,)))
        world.receive(event(0))
        assert posted(world.wait(5.0)) == []
        assert world.ledger.counters.topics[TOPIC].consumed == 0


class TestStop:
    def stop(self, world: World, seconds: float = 30.0) -> list[Command]:
        return world.handle(StopRequested(world.seconds + seconds))

    def test_a_stop_with_nothing_to_do_is_over_at_once(self, world: World) -> None:
        commands = self.stop(world)
        assert only(StopIntake, commands) == [StopIntake()]
        assert only(Finish, commands) == [Finish(0, 0)]

    def test_a_stop_flushes_awaits_commits_and_finishes(self, world: World) -> None:
        world.receive(event(0), event(1))
        (batch,) = posted(self.stop(world))
        commands = world.answer(batch, ok())
        assert committed(commands) == {FIRST: 2}
        assert only(Finish, world.handle(Committed({FIRST: Position(2)}, 0.01))) == [Finish(0, 0)]
        assert world.pipeline.is_finished

    def test_a_stop_during_an_outage_does_not_wait_for_it(self, world: World) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, status(503))
        assert only(Finish, self.stop(world)) == [Finish(1, 0)]

    def test_a_stop_waits_for_dead_letters_until_its_deadline(self, world: World) -> None:
        world.receive(FakeRecord(0, b"not json"))
        assert only(Finish, self.stop(world)) == []
        assert only(Finish, world.wait(30.0)) == [Finish(1, 0)]

    def test_a_failed_last_commit_still_ends_the_stop(self, world: World) -> None:
        commands = world.handle(Received(FIRST, (), 5))
        assert committed([*commands, *self.stop(world)]) == {FIRST: 5}
        world.handle(CommitFailed({FIRST: Position(5)}, "no answer", 10.0))
        assert only(
            Finish, world.handle(CommitFailed({FIRST: Position(5)}, "no answer", 10.0))
        ) == [Finish(0, 5)]

    def test_a_last_commit_whose_metadata_is_too_large_is_made_again(self, world: World) -> None:
        commands = world.handle(Received(FIRST, (), 5))
        assert committed([*commands, *self.stop(world)]) == {FIRST: 5}
        world.handle(CommitFailed({FIRST: Position(5)}, "no answer", 0.01))
        refused = Position(5, "x" * 100)
        again = world.handle(CommitFailed({FIRST: refused}, "too large", 0.01, (refused,)))
        assert (committed(again), only(Finish, again)) == ({FIRST: 5}, [])
        assert only(Finish, world.handle(Committed({FIRST: Position(5)}, 0.01))) == [Finish(0, 0)]


class TestWhatIsLeftAtAStop:
    def stop(self, world: World) -> list[Finish]:
        return only(Finish, world.handle(StopRequested(world.seconds + 30.0)))

    def test_dead_letters_of_partitions_that_were_lost_are_left_to_nobody(
        self, world: World
    ) -> None:
        world.receive(FakeRecord(0, b"not json"))
        world.handle(Lost((FIRST, SECOND)))
        assert self.stop(world) == [Finish(1, 0)]

    def test_what_another_member_has_been_given_is_not_left(self, world: World) -> None:
        world.receive(FakeRecord(0, b"not json"))
        world.handle(Lost((FIRST, SECOND)))
        world.handle(Distributed(frozenset({SECOND.topic_partition})))
        assert self.stop(world) == [Finish(0, 0)]

    def test_what_was_revoked_unsettled_is_left_until_it_is_given_to_somebody(
        self, world: World
    ) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, status(503))
        commands = world.handle(Revoked((FIRST, SECOND), world.seconds + 10))
        assert len(only(Release, commands)) == 1
        assert self.stop(world) == [Finish(1, 0)]


class TestWhatOperatorsSeeAfterwards:
    @pytest.mark.parametrize(
        "answer", [status(403), status(429, "20")], ids=["on hold", "throttled"]
    )
    def test_an_application_whose_rows_have_left_is_not_reported_for_ever(
        self, world: World, answer: Answer
    ) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, answer)
        world.handle(Revoked((FIRST, SECOND), world.seconds + 10))
        before = world.pipeline.snapshot(world.now)
        assert len(before.holds) + len(before.throttles) == 1
        world.wait(60.0)
        after = world.pipeline.snapshot(world.now)
        assert (after.partitions, after.holds, after.throttles) == ((), (), ())


class TestABadRowAtAStop:
    def test_a_row_refused_alone_is_proven_bad_while_its_neighbours_answer_is_on_its_way(
        self, world: World
    ) -> None:
        world.receive(event(0), event(1))
        (batch,) = posted(world.handle(StopRequested(world.seconds + 30)))
        bad, good = posted(world.answer(batch, status(400)))
        assert only(Finish, world.answer(bad, status(400))) == []
        (again,) = posted(world.answer(good, ok()))
        (dead_letters,) = only(WriteDeadLetters, world.answer(again, status(400)))
        commands = world.handle(DeadLettersAcknowledged(dead_letters.rejections))
        assert committed(commands) == {FIRST: 2}
        (finish,) = only(Finish, world.handle(Committed({FIRST: Position(2)}, 0.01)))
        assert finish == Finish(0, 0)

    def test_one_refused_just_before_the_stop_waits_for_that_answer_too(self, world: World) -> None:
        world.receive(event(0), event(1))
        (batch,) = posted(world.wait(1.0))
        bad, good = posted(world.answer(batch, status(400)))
        world.answer(bad, status(400))
        assert only(Finish, world.handle(StopRequested(world.seconds + 30))) == []
        assert posted(world.answer(good, ok())) == [bad]

    def test_when_the_last_answer_proves_nothing_it_is_left_at_once(self, world: World) -> None:
        world.receive(event(0), event(1))
        (batch,) = posted(world.handle(StopRequested(world.seconds + 30)))
        bad, also_bad = posted(world.answer(batch, status(400)))
        assert only(Finish, world.answer(bad, status(400))) == []
        assert only(Finish, world.answer(also_bad, status(400))) == [Finish(2, 0)]

    def test_it_does_not_wait_after_requests_may_start(self, world: World) -> None:
        world.receive(event(0), event(1))
        (batch,) = posted(world.handle(StopRequested(world.seconds + 30)))
        bad, good = posted(world.answer(batch, status(400)))
        world.answer(bad, status(400))
        assert world.ledger.offsets.in_motion({FIRST}) == 2
        world.wait(20.0)
        assert world.ledger.offsets.in_motion({FIRST}) == 1, "the good one is in flight"
        assert only(Finish, world.answer(good, ok())) == []
        assert world.ledger.offsets.in_motion({FIRST}) == 0

    @pytest.mark.parametrize("seed", some_of(range(100)))
    def test_it_is_proven_whatever_the_order_of_answers_if_its_batch_has_other_rows(
        self, seed: int
    ) -> None:
        chance = Random(seed)
        world = World(rows_max=30, in_flight_max=chance.randint(1, 4))
        world.assign(FIRST)
        count = chance.randint(2, 30)
        bad = chance.randrange(count)
        on_their_way = posted(world.receive(*map(event, range(count))))
        on_their_way += posted(world.wait(1.0)) if chance.random() < 0.5 else []
        on_their_way += posted(world.handle(StopRequested(world.seconds + 30)))
        dead_lettered: list[WriteDeadLetters] = []
        while on_their_way:
            batch = on_their_way.pop(chance.randrange(len(on_their_way)))
            has_bad = any(row.record.offset == bad for row in batch.rows)
            commands = world.answer(batch, status(400) if has_bad else ok())
            on_their_way += posted(commands)
            dead_lettered += only(WriteDeadLetters, commands)
            assert only(Finish, commands) == []
        (letters,) = dead_lettered
        assert [one.record.offset for one in letters.rejections] == [bad]

    def test_the_only_row_of_its_batch_is_left_if_nothing_else_can_prove_it(
        self, world: World
    ) -> None:
        world.receive(event(0))
        (batch,) = posted(world.handle(StopRequested(world.seconds + 30)))
        assert only(Finish, world.answer(batch, status(400))) == [Finish(1, 0)]

"""Stories of the pipeline: given these events, exactly these commands. No socket or clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.builders import TOPIC, FakeRecord
from tests.unit.core.pipeline_world import (
    FIRST,
    HOME,
    PARKING_TOPIC,
    SECOND,
    World,
    committed,
    event,
    offsets,
    ok,
    only,
    posted,
    profile,
    status,
)
from worker.core.intake.rules import Condition, Tombstones
from worker.core.model.answer import Ambiguous, Answer, TransportFault
from worker.core.model.command import (
    Commit,
    Pause,
    Resume,
    WriteLog,
)
from worker.core.model.event import (
    Assigned,
    CommitFailed,
    Committed,
    LogTruncated,
    Lost,
    Received,
    TailRead,
)
from worker.core.model.record import Assignment, Place, Position, SkipReason, Start
from worker.core.post_api.resource import PROFILES
from worker.core.wire import commit_metadata
from worker.core.wire.record_headers import PARKED_PREFIX


class TestTheWayOfARecord:
    def test_a_record_is_committed_only_after_its_batch_is_answered_200(self, world: World) -> None:
        assert posted(world.receive(event(0), event(1))) == []
        (batch,) = posted(world.wait(1.0))
        assert offsets(batch) == [0, 1]
        assert committed(world.wait(5.0)) == {}
        assert committed(world.answer(batch, ok())) == {FIRST: 2}

    def test_a_full_batch_goes_at_once(self, world: World) -> None:
        (batch,) = posted(world.receive(*(event(offset) for offset in range(10))))
        assert offsets(batch) == list(range(10))

    def test_applications_do_not_share_a_batch(self, world: World) -> None:
        world.receive(event(0, application=1), event(1, application=2))
        batches = posted(world.wait(1.0))
        assert {batch.destination.application_id: offsets(batch) for batch in batches} == {
            1: [0],
            2: [1],
        }

    def test_a_commit_never_passes_a_record_that_is_still_under_way(self, world: World) -> None:
        world.receive(event(0, application=1), event(1, application=2), event(2, application=2))
        first, second = posted(world.wait(1.0))
        # The position stays; hints beside it tell what is delivered above it.
        (commit,) = only(Commit, [*world.answer(second, ok()), *world.wait(5.0)])
        assert commit.positions == {FIRST: Position(0, commit_metadata.encode(0, 0, [(1, 3)]))}
        world.handle(Committed(commit.positions, 0.01))
        assert committed([*world.answer(first, ok()), *world.wait(1.0)]) == {FIRST: 3}

    def test_a_truncated_log_is_counted_and_logged_and_a_lower_position_is_committed(
        self, world: World
    ) -> None:
        world.handle(Lost((FIRST,)))
        again = Assignment(TOPIC, 0, 9)
        assigned = world.handle(
            Assigned((Start(again, 15, Position(20, commit_metadata.encode(20, 0, [])), end=15),))
        )
        commands = world.handle(LogTruncated(again, 20, 15, is_exact=False))
        (line,) = only(WriteLog, commands)
        assert (line.event, line.fields["resumed_at"], line.fields["may_pass_over_records"]) == (
            "log_truncated",
            15,
            True,
        )
        assert world.ledger.counters.topics[TOPIC].log_truncations == 1
        # Or the next start would find the log truncated once more.
        assert committed([*assigned, *commands, *world.wait(2.0)]) == {again: 15}

    def test_a_partition_in_its_next_life_skips_what_the_hints_name(self, world: World) -> None:
        world.handle(Lost((FIRST,)))
        again = Assignment(TOPIC, 0, 9)
        start = Start(again, 0, Position(0, commit_metadata.encode(0, 0, [(1, 3)])), end=4)
        world.handle(Assigned((start,)))
        world.receive(event(0), event(1), event(2), event(3), assignment=again)
        (batch,) = posted(world.wait(1.0))
        assert [row.record.offset for row in batch.rows] == [0, 3]
        assert committed([*world.answer(batch, ok()), *world.wait(1.0)]) == {again: 4}
        assert world.ledger.counters.topics[TOPIC].skipped_settled == 2

    def test_what_an_earlier_owner_delivered_is_a_duplicate_and_nothing_else_is(
        self, world: World
    ) -> None:
        world.handle(Lost((FIRST,)))
        again = Assignment(TOPIC, 0, 9)
        # From offset 2 up to 8 all is settled, and 9 above it.
        start = Start(
            Assignment(TOPIC, 0, 0), 8, Position(8, commit_metadata.encode(8, 2, [(9, 10)])), end=10
        )
        invalid = FakeRecord(4, b"not json")
        tail = (
            *(event(offset) for offset in (0, 1, 2, 3)),
            invalid,
            *(event(offset) for offset in range(5, 10)),
        )
        world.handle(
            TailRead(
                start,
                tail,
                refused={Place(TOPIC, 0, 5)},
                parked={Place(TOPIC, 0, 6)},
                named_from_milliseconds=0,
            )
        )
        world.handle(Assigned((Start(again, 8, start.committed, end=10),)))
        repeated = [
            FakeRecord(offset + 100, event(offset).value) for offset in range(10) if offset != 4
        ]
        corrected = FakeRecord(120, event(6).value, headers=(("event-id", b"6"),))
        world.receive(event(8), event(9), *repeated, corrected, assignment=again)
        (batch,) = posted(world.wait(1.0))
        # Before the floor nobody has seen them; 5 was refused; 8 was not settled, and comes again
        # linked to itself.
        assert [row.record.offset for row in batch.rows] == [8, 100, 101, 105, 120]
        assert world.ledger.counters.topics[TOPIC].duplicates == 5

    def test_a_parked_record_that_was_refused_later_does_not_count_as_seen(
        self, world: World
    ) -> None:
        noted = {"topic": TOPIC.encode(), "partition": b"0", "offset": b"5", "timestamp": b"0"}
        headers = tuple((PARKED_PREFIX + name, value) for name, value in noted.items())
        refused = FakeRecord(3, event(3).value, headers=(*headers, ("event-id", b"7")))
        start = Start(
            Assignment(PARKING_TOPIC, 0, 0), 4, Position(4, commit_metadata.encode(4, 0, [])), end=5
        )
        world.handle(
            TailRead(
                start,
                (refused,),
                refused={Place(TOPIC, 0, 5)},
                parked=set(),
                named_from_milliseconds=0,
            )
        )
        world.assign(HOME, position=4)
        world.receive(FakeRecord(4, event(4).value, headers=(("event-id", b"7"),)), assignment=HOME)
        (batch,) = posted(world.wait(1.0))
        assert [row.record.offset for row in batch.rows] == [4]

    def test_the_position_behind_transaction_markers_is_committed_with_nothing_outstanding(
        self, world: World
    ) -> None:
        assert committed(world.handle(Received(FIRST, (), 7))) == {FIRST: 7}

    def test_one_commit_at_a_time_and_a_failed_one_is_offered_again(self, world: World) -> None:
        assert committed(world.handle(Received(FIRST, (), 7))) == {FIRST: 7}
        world.handle(Received(FIRST, (), 9))
        assert committed(world.wait(5.0)) == {}
        assert committed(world.handle(CommitFailed({FIRST: Position(7)}, "no answer", 5.0))) == {
            FIRST: 9
        }
        world.handle(Committed({FIRST: Position(9)}, 0.01))
        assert committed(world.wait(5.0)) == {}

    def test_a_commit_whose_metadata_is_too_large_is_made_again_at_once_with_less(
        self, world: World
    ) -> None:
        assert committed(world.handle(Received(FIRST, (), 7))) == {FIRST: 7}
        refused = Position(7, "x" * 100)
        again = world.handle(CommitFailed({FIRST: refused}, "too large", 0.01, (refused,)))
        assert committed(again) == {FIRST: 7}, (
            "less is possible now, and the interval is not waited for"
        )
        assert [log.event for log in only(WriteLog, again)] == [
            "commit_failed",
            "commit_metadata_limited",
        ]
        assert (
            committed(world.handle(CommitFailed({FIRST: refused}, "too large", 0.01, (refused,))))
            == {}
        ), "nothing new"

    def test_requests_in_flight_are_bounded(self, world: World) -> None:
        commands = world.receive(*(event(offset) for offset in range(60)))
        batches = posted(commands)
        assert len(batches) == 4
        assert len(posted(world.answer(batches[0], ok()))) == 1


class TestSkippedRecords:
    def world(self) -> World:
        world = World(
            select=(Condition(("event_name",), ("event-1", "event-3")),),
            tombstones=Tombstones.SKIP,
        )
        world.assign(FIRST)
        return world

    def test_what_the_route_does_not_select_is_settled_at_once_and_counted(self) -> None:
        world = self.world()
        assert posted(world.receive(event(0), FakeRecord(2, None))) == []
        topic = world.ledger.counters.topics[TOPIC]
        assert topic.skipped == {SkipReason.NOT_SELECTED: 1, SkipReason.TOMBSTONE: 1}
        assert (topic.consumed, topic.delivered, topic.dead_lettered.total()) == (2, 0, 0)
        assert committed(world.wait(1.1)) == {FIRST: 3}
        assert world.ledger.memory.held_bytes == 0

    def test_a_selected_record_among_them_holds_the_position(self) -> None:
        world = self.world()
        world.receive(event(0), event(1), event(2))
        commands = world.wait(1.1)
        assert committed(commands) == {FIRST: 1}
        (batch,) = posted(commands)
        assert [row.record.offset for row in batch.rows] == [1]
        world.handle(Committed({FIRST: Position(1)}, 0.1))
        world.answer(batch, ok())
        assert committed(world.wait(1.1)) == {FIRST: 3}


class TestOrder:
    """Of a profile nothing arrives after a newer value."""

    @pytest.mark.parametrize(
        "answer", [status(503), status(403), status(400), Ambiguous(TransportFault.TIMEOUT, 5.0)]
    )
    @pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["open", "sealed"])
    def test_a_row_linked_to_a_request_of_a_lost_assignment_goes_before_newer_rows(
        self, answer: Answer, seconds: float
    ) -> None:
        world = World(resource=PROFILES)
        world.assign(FIRST)
        world.receive(profile(0, "ann"), profile(1, "bob"))
        (lost,) = posted(world.wait(1.0))
        world.handle(Lost((FIRST,)))
        again = Assignment(TOPIC, 0, 9)
        world.assign(again)
        world.receive(profile(0, "ann"), profile(1, "bob"), profile(2, "ann"), assignment=again)
        assert posted(world.wait(seconds)) == []
        order = []
        commands = [*world.answer(lost, answer), *world.wait(60.0)]
        while batches := posted(commands):
            (batch,) = batches
            order += offsets(batch)
            commands = world.answer(batch, ok())
        assert order == [0, 1, 2]

    @pytest.mark.parametrize("corrected", ["ann", "bob"])
    def test_newer_rows_wait_for_the_correction_of_a_row_that_is_not_given_up_yet(
        self, corrected: str
    ) -> None:
        world = World(resource=PROFILES)
        world.assign(FIRST)
        world.receive(profile(0, "ann", "k"), profile(1, corrected, "k"), profile(2, corrected))
        (bad,) = posted(world.wait(1.0))
        assert offsets(bad) == [0]
        assert posted(world.answer(bad, status(400))) == []
        world.receive(profile(3, "cid"), profile(4, corrected))
        (other,) = posted(world.wait(1.0))
        assert offsets(other) == [3]
        (again,) = posted(world.answer(other, ok()))
        assert offsets(again) == [0]
        (correction,) = posted(world.answer(again, status(400)))
        assert offsets(correction) == [1]
        (newer,) = posted(world.answer(correction, ok()))
        assert offsets(newer) == [2]

    @pytest.mark.parametrize("end", ["delivered", "lost"])
    def test_newer_rows_go_on_when_the_linked_row_is_settled_or_given_back(self, end: str) -> None:
        world = World(resource=PROFILES)
        world.assign(FIRST, SECOND)
        world.receive(profile(0, "ann", "k"))
        world.receive(profile(0, "bob", "k"), profile(1, "bob"), assignment=SECOND)
        (batch,) = posted(world.wait(1.0))
        assert offsets(batch) == [0]
        if end == "lost":
            world.handle(Lost((SECOND,)))
            again = Assignment(TOPIC, 1, 9)
            world.assign(again, position=1)
            world.receive(profile(1, "bob"), assignment=again)
            world.wait(1.0)
        (newer,) = posted(world.answer(batch, ok()))
        assert offsets(newer) == [1]
        assert world.components.dispatcher.waiting.ordered.lanes() == []


class TestPressure:
    def test_a_partition_pauses_at_its_span_and_resumes_at_half_of_it(self) -> None:
        world = World(span_max=20)
        world.assign(FIRST, SECOND)
        commands = world.receive(*(event(offset) for offset in range(20)))
        first, second = posted(commands)
        assert only(Pause, commands) == [Pause(frozenset({FIRST}))]
        assert only(Resume, world.answer(second, ok())) == []
        assert only(Resume, world.answer(first, ok())) == [Resume(frozenset({FIRST}))]

    def test_everything_pauses_at_the_memory_mark_and_all_memory_comes_back(self) -> None:
        world = World(memory_bytes_max=20_000)
        world.assign(FIRST, SECOND)
        commands = world.receive(*(event(offset) for offset in range(20)))
        assert only(Pause, commands) == [Pause(frozenset({FIRST, SECOND}))]
        for batch in posted(commands):
            commands = world.answer(batch, ok())
        assert only(Resume, commands) == [Resume(frozenset({FIRST, SECOND}))]
        assert world.ledger.memory.held_bytes == 0

    def test_memory_filled_by_a_batch_that_fails_alone_has_room_for_other_partitions(self) -> None:
        records = [event(offset) for offset in range(20)]
        roomy = World(rows_max=20)
        roomy.assign(FIRST)
        roomy.receive(*records)
        memory_bytes_max = roomy.ledger.memory.held_bytes + 1
        world = World(memory_bytes_max=memory_bytes_max, rows_max=20, span_max=20)
        world.assign(FIRST, SECOND)
        commands = world.receive(*records)
        assert only(Pause, commands) == [Pause(frozenset({FIRST, SECOND}))]
        (batch,) = posted(commands)
        assert only(Resume, world.answer(batch, status(500))) == []
        (again,) = posted(world.wait(60.0))
        assert only(Resume, world.answer(again, status(500))) == [Resume(frozenset({SECOND}))]

    def test_the_bodies_of_requests_in_flight_come_on_top_of_the_bound_on_records(self) -> None:
        memory_bytes_max, chunk = 400_000, 4
        world = World(memory_bytes_max=memory_bytes_max, rows_max=1000)
        world.assign(FIRST)
        paused: list[Pause] = []
        offset, held = 0, 0
        while not paused:
            assert held <= memory_bytes_max
            records = [event(offset + more, name="x" * 5000) for more in range(chunk)]
            paused = only(Pause, world.receive(*records))
            offset += chunk
            held = world.ledger.memory.held_bytes
        chunk_bytes = held * chunk // offset
        assert held <= memory_bytes_max + chunk_bytes
        batches = posted(world.wait(1.0))
        bodies = sum(batch.body_bytes for batch in batches)
        assert world.ledger.memory.held_bytes == held + bodies > memory_bytes_max + chunk_bytes


def test_a_history_replayed_gives_the_same_commands() -> None:
    def story(world: World) -> list[tuple[Callable[[], object], ...] | object]:
        commands_of_turns: list[object] = [world.assign(FIRST)]
        commands = world.receive(
            *(event(offset, application=1 + offset % 2) for offset in range(40))
        )
        commands_of_turns.append([(batch.id, batch.body()) for batch in posted(commands)])
        for number, batch in enumerate(posted(commands)):
            commands_of_turns.append(
                only(WriteLog, world.answer(batch, status((200, 503, 403, 400)[number % 4])))
            )
        commands_of_turns.append([(batch.id, batch.body()) for batch in posted(world.wait(60.0))])
        return commands_of_turns

    assert story(World()) == story(World())

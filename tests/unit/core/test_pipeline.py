"""Stories of the pipeline: given these events, exactly these commands. No socket or clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.builders import TOPIC, UNIX_SECONDS, FakeRecord
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
from worker.core.model.answer import Ambiguous, Answer, NotSent, TransportFault
from worker.core.model.batch import Batch
from worker.core.model.command import (
    Command,
    Commit,
    Finish,
    Pause,
    Release,
    Resume,
    StopIntake,
    WriteDeadLetters,
    WriteLog,
    WriteParked,
)
from worker.core.model.event import (
    Assigned,
    CommitFailed,
    Committed,
    DeadLettersAcknowledged,
    DeadLettersFailed,
    Distributed,
    KeyChanged,
    LogTruncated,
    Lost,
    ParkingAcknowledged,
    ParkingFailed,
    Received,
    Revoked,
    StopRequested,
    TailRead,
)
from worker.core.model.fault import Reason
from worker.core.model.record import Assignment, Place, Position, SkipReason, Start
from worker.core.post_api.resource import PROFILES
from worker.core.wire import commit_metadata
from worker.core.wire.record_headers import PARKED_PREFIX


@pytest.fixture
def world() -> World:
    world = World()
    world.assign(FIRST, SECOND)
    world.wait(1.0)
    return world


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

    def test_what_was_refused_after_it_came_home_is_not_seen_there_either(
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


class TestAnswers:
    def test_a_transient_fault_sends_the_identical_bytes_under_the_same_id(
        self, world: World
    ) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        assert posted(world.answer(batch, status(503))) == []
        (again,) = posted(world.wait(0.5))
        assert (again.id, again.body()) == (batch.id, batch.body())

    @pytest.mark.parametrize(
        "answer",
        [Ambiguous(TransportFault.TIMEOUT, 30.0), NotSent(TransportFault.CONNECT_FAILED, 0.1)],
    )
    def test_a_transport_fault_is_retried_and_nothing_is_settled(
        self, world: World, answer: Answer
    ) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, answer)
        commands = world.wait(60.0)
        assert [one.id for one in posted(commands)] == [batch.id]
        assert committed(commands) == {}

    def test_retry_after_is_waited_for(self, world: World) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, status(429, retry_after="20"))
        assert posted(world.wait(20.0)) == []
        assert len(posted(world.wait(0.5))) == 1

    def test_the_one_guilty_row_is_dead_lettered_and_all_others_are_delivered(
        self, world: World
    ) -> None:
        commands = world.receive(*(event(offset) for offset in range(10)))
        dead_lettered: list[WriteDeadLetters] = []
        delivered: set[int] = set()
        for _ in range(20):
            batches = posted(commands)
            if not batches:
                break
            commands = []
            for batch in batches:
                if 7 in offsets(batch):
                    commands += world.answer(batch, status(400))
                else:
                    commands += world.answer(batch, ok())
                    delivered.update(offsets(batch))
            dead_lettered += only(WriteDeadLetters, commands)
        assert delivered == set(range(10)) - {7}
        ((rejection,),) = [command.rejections for command in dead_lettered]
        assert (rejection.record.offset, rejection.reason, rejection.http_status) == (
            7,
            Reason.REFUSED,
            400,
        )
        assert committed(world.wait(1.0)) == {FIRST: 7}
        world.handle(Committed({FIRST: Position(7)}, 0.0))
        world.handle(DeadLettersAcknowledged((rejection,)))
        assert committed(world.wait(1.0)) == {FIRST: 10}

    def test_a_line_that_follows_from_an_answer_names_the_batch_and_a_trace_of_its_records(
        self, world: World
    ) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        context = ("traceparent", f"00-{trace}-00f067aa0ba902b7-01".encode())
        world.receive(event(0), replace(event(1), headers=[context]))
        (batch,) = posted(world.wait(1.0))
        (held,) = only(WriteLog, world.answer(batch, status(403)))
        assert held.event == "application_held"
        assert held.fields["batch_id"] == batch.id
        assert held.fields["producer_trace_id"] == trace

    def test_a_held_application_stops_nobody_else_and_heals_by_a_probe(self, world: World) -> None:
        world.receive(event(0, application=1), event(1, application=2))
        first, second = posted(world.wait(1.0))
        commands = world.answer(first, status(403))
        assert [(log.event, log.fields["application_id"]) for log in only(WriteLog, commands)] == [
            ("application_held", 1)
        ]
        world.answer(second, ok())
        world.receive(event(2, application=1), event(3, application=2))
        (other,) = posted(world.wait(1.0))
        assert offsets(other) == [3]
        world.answer(other, ok())
        (probe,) = posted(world.wait(30.0))
        assert offsets(probe) == [2], "what hasn't asked yet asks first"
        commands = world.answer(probe, ok())
        assert [log.event for log in only(WriteLog, commands)] == ["application_healed"]
        assert posted(commands) == [first]

    def test_a_redirect_is_no_success(self, world: World) -> None:
        world.receive(event(0))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, status(302))
        assert committed(world.wait(5.0)) == {}

    def test_an_event_that_grew_too_old_while_it_waited_does_not_go_with_the_others(
        self, world: World
    ) -> None:
        oldest = int(UNIX_SECONDS + world.seconds) - 14 * 86400
        world.receive(event(0, event_timestamp=oldest + 100), event(1))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, status(503, retry_after="120"))
        commands = world.wait(120.5)
        assert [offsets(one) for one in posted(commands)] == [[1]]
        ((rejection,),) = [command.rejections for command in only(WriteDeadLetters, commands)]
        assert (rejection.record.offset, rejection.reason) == (0, Reason.TOO_OLD)


class TestDuplicates:
    def keyed(self, offset: int, key: str, name: str = "x") -> FakeRecord:
        record = event(offset, name=name)
        return FakeRecord(offset, record.value, headers=(("event-id", key.encode()),))

    def test_a_duplicate_of_a_delivered_event_is_settled_at_once(self, world: World) -> None:
        world.receive(self.keyed(0, "a"))
        (batch,) = posted(world.wait(1.0))
        world.answer(batch, ok())
        world.receive(self.keyed(1, "a"))
        assert posted(world.wait(1.0)) == []
        assert world.ledger.counters.topics[TOPIC].duplicates == 1
        assert world.ledger.offsets.tracker(FIRST).safe_position == 2

    def test_a_duplicate_of_an_event_in_flight_shares_its_fate(self, world: World) -> None:
        world.receive(self.keyed(0, "a"), self.keyed(1, "a"))
        (batch,) = posted(world.wait(1.0))
        assert offsets(batch) == [0]
        assert world.ledger.offsets.tracker(FIRST).safe_position == 0
        world.answer(batch, ok())
        assert world.ledger.offsets.tracker(FIRST).safe_position == 2

    def convict(self, world: World, batch: Batch) -> list[Command]:
        """This batch of one row is refused, another row is accepted, and it is refused again."""
        assert only(WriteDeadLetters, world.answer(batch, status(400))) == []
        world.receive(self.keyed(100, "company", "company"))
        (company,) = posted(world.wait(1.0))
        assert posted(world.answer(company, ok())) == [batch]
        return world.answer(batch, status(400))

    def dead_lettered(self, commands: list[Command]) -> list[int]:
        return [
            one.record.offset
            for write_dead_letters in only(WriteDeadLetters, commands)
            for one in write_dead_letters.rejections
        ]

    def test_a_refused_event_is_replaced_by_the_one_linked_to_it(self, world: World) -> None:
        world.receive(self.keyed(0, "a", "bad"), self.keyed(1, "a", "good"))
        (batch,) = posted(world.wait(1.0))
        assert self.dead_lettered(self.convict(world, batch)) == [0]
        (successor,) = posted(world.wait(1.0))
        assert offsets(successor) == [1]

    def test_a_refused_event_sent_again_corrected_under_the_same_key_is_no_duplicate(
        self, world: World
    ) -> None:
        world.receive(self.keyed(0, "a", "bad"))
        (batch,) = posted(world.wait(1.0))
        assert self.dead_lettered(self.convict(world, batch)) == [0]
        world.receive(self.keyed(101, "a", "good"))
        (corrected,) = posted(world.wait(1.0))
        assert offsets(corrected) == [101]


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


class TestDeadLetters:
    def test_a_rejected_record_is_settled_only_when_the_topic_has_it(self, world: World) -> None:
        commands = world.receive(FakeRecord(0, b"not json"))
        ((rejection,),) = [command.rejections for command in only(WriteDeadLetters, commands)]
        assert committed(world.wait(5.0)) == {}
        assert committed(world.handle(DeadLettersAcknowledged((rejection,)))) == {FIRST: 1}

    def test_the_line_stops_while_dead_letters_cannot_be_written(self, world: World) -> None:
        commands = world.receive(FakeRecord(0, b"not json"))
        ((rejection,),) = [command.rejections for command in only(WriteDeadLetters, commands)]
        commands = world.handle(DeadLettersFailed(1, "no such topic"))
        assert only(Pause, commands) == [Pause(frozenset({FIRST, SECOND}))]
        commands = world.handle(DeadLettersAcknowledged((rejection,)))
        assert only(Resume, commands) == [Resume(frozenset({FIRST, SECOND}))]


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


def test_a_new_key_is_tried_at_once(world: World) -> None:
    world.receive(event(0))
    (batch,) = posted(world.wait(1.0))
    world.answer(batch, status(403))
    assert posted(world.wait(1.0)) == []
    assert posted(world.handle(KeyChanged(2))) == []
    (probe,) = posted(world.handle(KeyChanged(1)))
    assert [log.event for log in only(WriteLog, world.answer(probe, ok()))] == [
        "application_healed"
    ]


class TestParking:
    """An application on hold must not stop its neighbours."""

    def held(self) -> tuple[World, list[Command]]:
        """Application 1 is on hold, and its records have just filled the span of the partition."""
        world = World(parks=True, span_max=20, in_flight_max=8)
        world.assign(FIRST, HOME)
        world.receive(*(event(offset, application=1 + offset % 2) for offset in range(10)))
        batches = {batch.destination.application_id: batch for batch in posted(world.wait(1.0))}
        world.answer(batches[1], status(403))
        world.answer(batches[2], ok())
        commands = world.receive(
            *(event(offset, application=1 + offset % 2) for offset in range(10, 20))
        )
        return world, commands

    def parked(self, commands: list[Command]) -> list[int]:
        return [
            row.record.offset for command in only(WriteParked, commands) for row in command.rows
        ]

    def test_what_pins_a_partition_is_parked_and_settled_once_that_is_acknowledged(self) -> None:
        world, commands = self.held()
        assert only(Pause, commands) == [Pause(frozenset({FIRST}))]
        (park,) = only(WriteParked, commands)
        assert self.parked(commands) == [0, 2, 4, 6, 8]
        assert committed(world.wait(5.0)) == {FIRST: 0}
        world.handle(Committed({FIRST: Position(0)}, 0.1))
        commands = world.handle(ParkingAcknowledged(park.rows))
        assert only(Resume, commands) == [Resume(frozenset({FIRST}))]
        assert committed([*commands, *world.wait(1.0)]) == {FIRST: 10}
        assert world.ledger.counters.topics[TOPIC].parked == 5

    def test_what_comes_later_is_parked_at_once_but_for_one_record_to_ask_with(self) -> None:
        world, commands = self.held()
        (park,) = only(WriteParked, commands)
        world.handle(ParkingAcknowledged(park.rows))
        # What was in the batcher when the hold began to park waits under it, and is what the next
        # probe is made of.
        world.wait(1.0)
        commands = world.receive(*(event(offset, application=1) for offset in range(20, 25)))
        assert self.parked(commands) == [20, 21, 22, 23, 24]

    def test_with_nothing_left_to_ask_with_one_record_of_a_chunk_goes_the_ordinary_way(
        self,
    ) -> None:
        world = World(parks=True, span_max=10)
        world.assign(FIRST, HOME)
        (batch,) = posted(world.receive(*(event(offset) for offset in range(10))))
        (park,) = only(WriteParked, world.answer(batch, status(403)))
        assert park.rows == batch.rows
        world.handle(ParkingAcknowledged(park.rows))
        assert self.parked(world.receive(*(event(offset) for offset in range(10, 15)))) == [
            11,
            12,
            13,
            14,
        ]
        world.wait(1.0)
        (probe,) = posted(world.wait(60.0))
        assert [row.record.offset for row in probe.rows] == [10]
        world.answer(probe, ok())
        assert self.parked(world.receive(*(event(offset) for offset in range(15, 20)))) == []

    def test_with_nothing_left_but_probes_in_vain_one_record_of_a_chunk_goes_the_ordinary_way(
        self,
    ) -> None:
        world = World(parks=True, span_max=10)
        world.assign(FIRST, HOME)
        (batch,) = posted(world.receive(*(event(offset) for offset in range(10))))
        (park,) = only(WriteParked, world.answer(batch, status(403)))
        world.handle(ParkingAcknowledged(park.rows))
        world.receive(event(10))
        world.wait(1.0)
        (probe,) = posted(world.wait(60.0))
        assert self.parked(world.receive(event(11), event(12))) == [11, 12]
        world.answer(probe, status(403))
        assert self.parked(world.receive(event(13), event(14))) == [14]

    def test_the_neighbour_flows_on_all_the_while(self) -> None:
        world, commands = self.held()
        (park,) = only(WriteParked, commands)
        world.handle(ParkingAcknowledged(park.rows))
        for start in range(20, 200, 10):
            commands = world.receive(
                *(event(offset, application=1 + offset % 2) for offset in range(start, start + 10))
            )
            commands += world.wait(1.0)
            for parking in only(WriteParked, commands):
                world.handle(ParkingAcknowledged(parking.rows))
            for batch in posted(commands):
                world.answer(batch, ok() if batch.destination.application_id == 2 else status(403))
        assert world.ledger.offsets.tracker(FIRST).span < 20
        account = world.ledger.counters.topics[TOPIC]
        assert (account.delivered, account.parked >= 85) == (100, True)

    def test_parked_records_wait_at_home_and_flow_when_the_hold_heals(self) -> None:
        world, _ = self.held()
        world.receive(*(event(offset, application=1) for offset in range(5)), assignment=HOME)
        commands = world.wait(1.0)
        assert Pause(frozenset({HOME})) in only(Pause, commands), (
            "its records have nothing to do but to wait"
        )
        (probe,) = posted(world.wait(60.0))
        commands = world.answer(probe, ok())
        assert [log.event for log in only(WriteLog, commands)] == ["application_healed"]
        for batch in posted(commands):
            commands += world.answer(batch, ok())
        assert frozenset({HOME}) in [command.assignments for command in only(Resume, commands)]
        assert world.ledger.counters.topics[PARKING_TOPIC].delivered == 5

    def test_parked_records_are_not_duplicates_of_themselves(self) -> None:
        world, commands = self.held()
        (park,) = only(WriteParked, commands)
        world.handle(ParkingAcknowledged(park.rows))
        world.wait(1.0)
        (probe,) = posted(world.wait(60.0))
        world.answer(probe, ok())
        world.receive(
            *(event(offset, application=1) for offset in range(0, 10, 2)), assignment=HOME
        )
        (batch,) = posted(world.wait(1.0))
        assert [row.record.offset for row in batch.rows] == [0, 2, 4, 6, 8]

    def test_a_parked_event_that_is_published_again_is_a_duplicate(self) -> None:
        world, commands = self.held()
        (park,) = only(WriteParked, commands)
        world.handle(ParkingAcknowledged(park.rows))
        again = FakeRecord(20, event(0, application=1).value)
        world.receive(again)
        assert world.ledger.counters.topics[TOPIC].duplicates == 1

    def test_the_line_stops_while_records_cannot_be_parked(self) -> None:
        world, commands = self.held()
        (park,) = only(WriteParked, commands)
        commands = world.handle(ParkingFailed(5, "no such topic"))
        assert only(Pause, commands) == [Pause(frozenset({HOME}))]
        assert [log.event for log in only(WriteLog, commands)] == ["parking_failed"]
        commands = world.handle(ParkingAcknowledged(park.rows))
        assert {one for command in only(Resume, commands) for one in command.assignments} == {
            FIRST,
            HOME,
        }

    def test_a_route_without_parking_keeps_its_held_records(self) -> None:
        world = World(span_max=10, rows_max=5)
        world.assign(FIRST)
        first, second = posted(world.receive(*(event(offset) for offset in range(10))))
        world.answer(first, status(403))
        assert only(WriteParked, [*world.answer(second, status(403)), *world.wait(1.0)]) == []

    def test_memory_filled_by_a_hold_alone_is_parked_too(self) -> None:
        world = World(parks=True, memory_bytes_max=20_000, in_flight_max=8)
        world.assign(FIRST, SECOND)
        batches = posted(world.receive(*(event(offset) for offset in range(20))))
        commands = [command for batch in batches for command in world.answer(batch, status(403))]
        (park,) = only(WriteParked, commands)
        commands = world.handle(ParkingAcknowledged(park.rows))
        assert only(Resume, commands) == [Resume(frozenset({FIRST, SECOND}))]

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

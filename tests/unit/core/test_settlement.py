"""Stories of settlement: what an answer, a duplicate or a written dead letter settles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import TOPIC, UNIX_SECONDS, FakeRecord
from tests.unit.core.pipeline_world import (
    FIRST,
    SECOND,
    World,
    committed,
    event,
    offsets,
    ok,
    only,
    posted,
    status,
)
from worker.core.model.answer import Ambiguous, Answer, NotSent, TransportFault
from worker.core.model.batch import Batch
from worker.core.model.command import (
    Command,
    Pause,
    Resume,
    WriteDeadLetters,
    WriteLog,
)
from worker.core.model.event import (
    Committed,
    DeadLettersAcknowledged,
    DeadLettersFailed,
    KeyChanged,
)
from worker.core.model.fault import Reason
from worker.core.model.record import Position


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

    def test_a_row_at_fault_is_dead_lettered_and_all_others_are_delivered(
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

"""A doubted clock: records received then wait, whole and in order, until the clock is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.builders import TOPIC, UNIX_SECONDS, FakeRecord, make_rules
from tests.unit.core.pipeline_world import World, event, offsets, only
from worker.core.counters.counters import ContractDrift
from worker.core.delivery.waiting import AGE_WAIT_SECONDS
from worker.core.intake.intake import Intake
from worker.core.intake.rules import WithoutKey
from worker.core.model.answer import NotSent, Response, TransportFault
from worker.core.model.clock import Now
from worker.core.model.command import (
    AskTime,
    Command,
    Pause,
    Post,
    Resume,
    WriteDeadLetters,
    WriteLog,
)
from worker.core.model.event import (
    Answered,
    ApiTimeRead,
    Assigned,
    Lost,
    Received,
    StopRequested,
    TailRead,
    TimePassed,
)
from worker.core.model.fault import Reason, Rejection
from worker.core.model.record import Assignment, Position, Record, Start
from worker.core.model.row import Row
from worker.core.pipeline import Pipeline
from worker.core.progress.pressure import ReceptionControl
from worker.core.reception import KeylessLog
from worker.core.wire import commit_metadata

DAY = 86_400
HOUR = 3600.0
A0 = Assignment(TOPIC, 0, 1)
A1 = Assignment(TOPIC, 1, 1)


class Clocked(World):
    """A world whose local clock can be wrong."""

    ahead: float = 0.0

    def jump(self, seconds: float) -> None:
        self.ahead = seconds

    @property
    def now(self):  # type: ignore[no-untyped-def]
        true = super().now
        return true._replace(unix_seconds=true.unix_seconds + self.ahead)

    def handle_api_time(self, *, wrong_by: float = 0.0) -> list[Command]:
        """The API is asked for its time, and answers."""
        return self.handle(
            ApiTimeRead(Response(404, None, "", 0.1, UNIX_SECONDS + self.seconds + wrong_by))
        )

    def come(self, assignment: Assignment, *records: FakeRecord) -> list[Command]:
        return self.handle(Received(assignment, records, records[-1].offset + 1))


def world(*, ahead: float = 0.0) -> Clocked:
    made = Clocked(clock_difference_seconds_max=HOUR)
    made.jump(ahead)
    made.assign(A0, A1)
    return made


def vouched() -> Clocked:
    made = world()
    made.handle_api_time()
    return made


def aged(offset: int, days: float) -> FakeRecord:
    return event(offset, event_timestamp=int(UNIX_SECONDS - days * DAY))


def of(kind: type[Command], commands: list[Command]) -> list[Command]:
    return [command for command in commands if isinstance(command, kind)]


def dead_lettered(commands: list[Command]) -> list[tuple[int, Reason]]:
    return [
        (one.record.offset, one.reason)
        for write_dead_letters in commands
        if isinstance(write_dead_letters, WriteDeadLetters)
        for one in write_dead_letters.rejections
    ]


def test_a_clock_that_jumps_ahead_dead_letters_nothing_and_stops_intake_until_it_is_right() -> None:
    stage = vouched()
    stage.jump(15 * DAY)
    commands = stage.come(A0, event(0), event(1))
    assert dead_lettered(commands) == []
    assert [log.event for log in commands if isinstance(log, WriteLog)] == ["clock_doubted"]
    assert of(Pause, commands) == [Pause(frozenset({A0, A1}))]
    assert of(AskTime, commands) == [AskTime()]
    assert stage.ledger.offsets.tracker(A0).position == 0
    stage.jump(0)
    commands = stage.handle_api_time()
    assert of(Resume, commands) == [Resume(frozenset({A0, A1}))]
    assert dead_lettered(commands) == []
    assert stage.ledger.offsets.tracker(A0).position == 2


def test_a_clock_that_jumps_back_makes_nothing_an_event_of_the_future() -> None:
    stage = vouched()
    stage.jump(-2 * DAY)
    assert dead_lettered(stage.come(A0, event(0))) == []
    stage.jump(0)
    stage.handle_api_time()
    assert stage.ledger.offsets.tracker(A0).position == 1


def test_what_came_meanwhile_is_decided_in_its_order_and_by_the_right_time() -> None:
    stage = vouched()
    stage.jump(15 * DAY)
    stage.come(A0, event(0), aged(1, 15))
    stage.come(A0, aged(2, 16), event(3))
    stage.jump(0)
    commands = stage.handle_api_time()
    assert dead_lettered(commands) == [(1, Reason.TOO_OLD), (2, Reason.TOO_OLD)]
    assert stage.ledger.offsets.tracker(A0).position == 4


def test_what_waits_to_be_sent_does_not_expire_by_a_clock_that_is_doubted() -> None:
    stage = vouched()
    stage.come(A0, event(0))
    stage.jump(15 * DAY)
    commands = stage.wait(2)
    assert dead_lettered(commands) == []
    assert [len(post.batch.rows) for post in commands if isinstance(post, Post)] == [1]


def test_before_the_time_of_the_api_is_known_only_what_an_age_would_decide_waits() -> None:
    stage = world()
    assert stage.come(A0, event(0)) == []
    assert stage.ledger.offsets.tracker(A0).position == 1
    commands = stage.come(A0, aged(1, 15), event(2))
    assert dead_lettered(commands) == []
    assert of(AskTime, commands) == [AskTime()]
    assert of(Pause, commands) == [Pause(frozenset({A0, A1}))]
    commands = stage.handle_api_time()
    assert dead_lettered(commands) == [(1, Reason.TOO_OLD)]
    assert of(Resume, commands) == [Resume(frozenset({A0, A1}))]


class CountingIntake(Intake):
    """An intake that counts the records that it reads."""

    records_read = 0

    def read(
        self,
        assignment: Assignment,
        records: Sequence[Record],
        now: Now,
        drift: ContractDrift | None = None,
    ) -> tuple[list[Row], list[Rejection]]:
        self.records_read += len(records)
        return super().read(assignment, records, now, drift)


def test_before_the_time_of_the_api_is_known_a_chunk_is_read_only_once() -> None:
    stage = Clocked(clock_difference_seconds_max=HOUR)
    intake = CountingIntake(make_rules())
    routes = {TOPIC: replace(stage.components.routes[TOPIC], intake=intake)}
    stage.pipeline = Pipeline(replace(stage.components, routes=routes), ReceptionControl(100))
    stage.assign(A0)
    stage.come(A0, event(0), event(1))
    assert stage.ledger.offsets.tracker(A0).position == 2
    assert intake.records_read == 2


def test_before_the_time_of_the_api_is_known_settled_records_become_no_rows() -> None:
    stage = world()
    stage.handle(Lost((A0,)))
    committed = Position(0, commit_metadata.encode(0, 0, [(1, 3)]))
    again = Assignment(TOPIC, 0, 2)
    stage.handle(Assigned((Start(again, 0, committed),)))
    stage.come(again, event(0), event(1), event(2), event(3))
    assert stage.ledger.counters.topics[TOPIC].skipped_settled == 2
    (post,) = only(Post, stage.wait(2))
    assert offsets(post.batch) == [0, 3]


def test_a_difference_from_the_contract_is_counted_once_also_where_its_chunk_waits() -> None:
    stage = world()
    drift = stage.ledger.contract_drift(TOPIC)
    stage.come(A0, event(0, connection_type="pigeon"))
    assert drift.unusual_values == {"connection_type": 1}
    stage.come(A0, event(1, connection_type="pigeon"), aged(2, 15))
    assert drift.unusual_values == {"connection_type": 1}
    stage.handle_api_time()
    assert drift.unusual_values == {"connection_type": 2}


def test_while_the_api_cannot_be_reached_it_is_asked_again_and_nothing_is_given_up() -> None:
    stage = world()
    stage.come(A0, aged(0, 15))
    for _ in range(10):
        commands = stage.handle(ApiTimeRead(NotSent(TransportFault.CONNECT_FAILED, 0.1)))
        assert dead_lettered(commands) == []
        due = stage.pipeline.next_deadline()
        assert due is not None
        stage.seconds = due
        assert AskTime() in stage.handle(TimePassed())
    assert dead_lettered(stage.handle_api_time()) == [(0, Reason.TOO_OLD)]


def test_what_has_grown_too_old_before_the_time_of_the_api_is_known_waits_for_it() -> None:
    stage = world()
    assert (
        stage.come(A0, event(0, event_timestamp=int(stage.now.unix_seconds) - 14 * DAY), event(1))
        == []
    )
    commands = stage.wait(2)
    assert [
        [row.record.offset for row in post.batch.rows]
        for post in commands
        if isinstance(post, Post)
    ] == [[1]]
    assert (dead_lettered(commands), of(AskTime, commands), of(Pause, commands)) == (
        [],
        [AskTime()],
        [],
    )
    stage.handle_api_time()
    assert dead_lettered(stage.wait(AGE_WAIT_SECONDS)) == [(0, Reason.TOO_OLD)]


def test_what_an_earlier_owner_delivered_is_a_duplicate_by_a_clock_that_is_behind_as_well() -> None:
    stage = world(ahead=-2 * DAY)
    stage.handle(Lost((A0,)))
    start = Start(Assignment(TOPIC, 0, 0), 1, Position(1, commit_metadata.encode(1, 0, [])), end=1)
    stage.handle(
        TailRead(start, (event(0),), refused=set(), parked=set(), named_from_milliseconds=0)
    )
    stage.jump(0)
    stage.handle_api_time()
    again = Assignment(TOPIC, 0, 2)
    stage.handle(Assigned((replace(start, assignment=again),)))
    stage.come(again, FakeRecord(1, event(0).value))
    assert stage.ledger.counters.topics[TOPIC].duplicates == 1


def test_a_record_that_is_wrong_in_other_ways_does_not_wait_for_the_time() -> None:
    stage = world()
    assert dead_lettered(stage.come(A0, FakeRecord(0, b"not json"))) == [(0, Reason.NOT_JSON)]


def test_an_answer_to_a_batch_vouches_as_well() -> None:
    stage = world()
    stage.come(A0, event(0))
    (post,) = of(Post, stage.wait(2))
    assert isinstance(post, Post)
    stage.handle(
        Answered(post.batch.id, Response(200, None, "", 0.1, UNIX_SECONDS + stage.seconds))
    )
    assert dead_lettered(stage.come(A0, aged(1, 15))) == [(1, Reason.TOO_OLD)]


def test_what_waits_when_its_partition_goes_is_left_to_the_next_owner() -> None:
    stage = vouched()
    stage.jump(15 * DAY)
    stage.come(A0, event(0))
    stage.come(A1, event(0))
    stage.handle(Lost((A0,)))
    stage.jump(0)
    stage.handle_api_time()
    assert A0 not in stage.ledger.offsets
    assert stage.ledger.offsets.tracker(A1).position == 1


def test_a_stop_does_not_wait_for_the_time() -> None:
    stage = vouched()
    stage.jump(15 * DAY)
    stage.come(A0, event(0))
    stage.handle(StopRequested(stage.seconds + 10))
    assert stage.pipeline.is_finished


def test_operators_see_the_difference() -> None:
    stage = vouched()
    stage.jump(15 * DAY)
    status = stage.pipeline.snapshot(stage.now).clock
    assert (status.trust, status.seconds_ahead) == ("doubted", 15.0 * DAY)


def test_records_without_a_key_are_logged_once_a_minute_at_most() -> None:
    log, drift, lines = KeylessLog(), ContractDrift(), []
    for second in range(150):
        drift.without_key["missing"] += 2
        lines += [
            (second, line.fields)
            for line in log.lines(A0, drift, Now(float(second), UNIX_SECONDS + second))
            if isinstance(line, WriteLog)
        ]
    assert lines == [
        (0, {"topic": TOPIC, "records": 2, "missing_total": 2}),
        (60, {"topic": TOPIC, "records": 120, "missing_total": 122}),
        (120, {"topic": TOPIC, "records": 120, "missing_total": 242}),
    ]
    assert log.lines(A0, drift, Now(179.0, UNIX_SECONDS)) == []


def test_records_without_a_key_that_a_route_asks_for_are_logged_and_counted() -> None:
    asking = World(without_key=WithoutKey.CONTENT)
    asking.assign(A0)
    logged = [one for one in asking.receive(event(0), event(1)) if isinstance(one, WriteLog)]
    assert [line.event for line in logged] == ["records_without_key"]
    assert asking.ledger.counters.topics[TOPIC].contract_drift.without_key == {"missing": 2}


def test_duplicates_by_key_and_by_content_are_counted_apart() -> None:
    asking = World()
    asking.assign(A0)
    by_key = [replace(event(offset), headers=(("event-id", b"7"),)) for offset in (0, 1)]
    same = [replace(event(2), offset=offset) for offset in (2, 3, 4)]
    asking.receive(*by_key, *same)
    for post in of(Post, asking.wait(2.0)):
        assert isinstance(post, Post)
        asking.answer(post.batch, Response(200, None, "", 0.1))
    assert asking.ledger.counters.topics[TOPIC].deduplicated == {"key": 1, "content": 2}

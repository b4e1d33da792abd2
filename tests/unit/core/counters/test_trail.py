"""The last events and commands of the pipeline: bounded, and without payloads."""

from __future__ import annotations

from typing import get_args

import orjson
import pytest

from tests.builders import FakeRecord, make_batch, make_rejection, make_rows, now_at
from worker.core.counters.trail import DETAIL_CHARACTERS_MAX, STEPS_MAX, Trail
from worker.core.model import command, event
from worker.core.model.answer import Ambiguous, NotSent, Response, TransportFault
from worker.core.model.command import Command
from worker.core.model.event import Event
from worker.core.model.record import Assignment, Position, Start

SECRET = "somebody@example.org"
FIRST, SECOND = Assignment("t", 0, 1), Assignment("t", 1, 2)
START = Start(FIRST, 5, Position(5, SECRET))
RECORDS = (FakeRecord(5, SECRET.encode(), key=SECRET.encode(), headers=((SECRET, b""),)),)
ROWS = tuple(make_rows(3, line=SECRET.encode()))
REJECTIONS = (make_rejection(value=SECRET.encode()),)
POSITIONS = {FIRST: Position(7, SECRET), SECOND: Position(8, SECRET)}
NAMED = "t-0 (epoch 1)"

STEPS: list[tuple[Event | Command, dict[str, object]]] = [
    (event.Assigned((START,)), {"kind": "assigned", "partition": NAMED}),
    (
        event.Received(FIRST, RECORDS, 6),
        {"kind": "received", "partition": NAMED, "records": 1, "next_offset": 6},
    ),
    (
        event.TailRead(START, RECORDS, frozenset(), frozenset(), 0),
        {"kind": "tail_read", "partition": NAMED, "records": 1},
    ),
    (event.Revoked((FIRST, SECOND), 9.0), {"kind": "revoked", "partitions": 2}),
    (
        event.Distributed(frozenset({FIRST.topic_partition})),
        {"kind": "distributed", "partitions": 1},
    ),
    (event.Lost((FIRST,)), {"kind": "lost", "partition": NAMED}),
    (
        event.Answered("b-1", Response(400, SECRET, SECRET, 0.25)),
        {"kind": "answered", "batch_id": "b-1", "status": 400, "seconds": 0.25},
    ),
    (
        event.Answered("b-1", Ambiguous(TransportFault.TIMEOUT, 2.0)),
        {"kind": "answered", "batch_id": "b-1", "fault": "timeout", "seconds": 2.0},
    ),
    (
        event.ApiTimeRead(NotSent(TransportFault.TLS_FAILED, 2.0)),
        {"kind": "api_time_read", "fault": "tls_failed", "seconds": 2.0},
    ),
    (
        event.DeadLettersAcknowledged(REJECTIONS),
        {"kind": "dead_letters_acknowledged", "records": 1},
    ),
    (
        event.DeadLettersFailed(4, "x" * 1000),
        {"kind": "dead_letters_failed", "records": 4, "detail": "x" * DETAIL_CHARACTERS_MAX},
    ),
    (event.ParkingAcknowledged(ROWS), {"kind": "parking_acknowledged", "records": 3}),
    (event.ParkingFailed(4, "x"), {"kind": "parking_failed", "records": 4, "detail": "x"}),
    (event.Committed(POSITIONS, 0.5), {"kind": "committed", "partitions": 2, "seconds": 0.5}),
    (
        event.CommitFailed(POSITIONS, "x", 0.5),
        {"kind": "commit_failed", "partitions": 2, "seconds": 0.5, "detail": "x"},
    ),
    (
        event.OffsetsSkipped(FIRST, 3),
        {"kind": "offsets_skipped", "partition": NAMED, "offsets": 3},
    ),
    (
        event.LogTruncated(FIRST, 9, 7, is_exact=True),
        {"kind": "log_truncated", "partition": NAMED, "position": 9, "resumed_at": 7},
    ),
    (event.KeyChanged(1111), {"kind": "key_changed", "application_id": 1111}),
    (event.StopRequested(1.0), {"kind": "stop_requested"}),
    (command.AskTime(), {"kind": "ask_time"}),
    (command.WriteDeadLetters(REJECTIONS), {"kind": "write_dead_letters", "records": 1}),
    (command.WriteParked(ROWS), {"kind": "write_parked", "records": 3}),
    (command.Commit(POSITIONS), {"kind": "commit", "partitions": 2}),
    (command.Pause(frozenset({FIRST})), {"kind": "pause", "partition": NAMED}),
    (command.Resume(frozenset({FIRST})), {"kind": "resume", "partition": NAMED}),
    (command.Release((FIRST,)), {"kind": "release", "partition": NAMED}),
    (command.StopIntake(), {"kind": "stop_intake"}),
    (
        command.Finish(1, 2),
        {"kind": "finish", "unsettled_records": 1, "uncommitted_records": 2},
    ),
    (
        command.WriteLog(command.Severity.INFO, "breaker_closed", {}),
        {"kind": "write_log", "code": "breaker_closed"},
    ),
]


@pytest.mark.parametrize(("step", "shown"), STEPS, ids=lambda one: type(one).__name__)
def test_a_step_is_its_time_its_kind_and_its_numbers(
    step: Event | Command, shown: dict[str, object]
) -> None:
    trail = Trail()
    trail.note(step, now_at(0.0, unix_start=12.0))
    assert trail.steps() == [{"unix_seconds": 12.0, **shown}]
    assert trail.latest() == shown
    assert SECRET not in orjson.dumps(trail.steps()).decode()


def test_a_request_is_its_destination_and_its_size() -> None:
    batch = make_batch(2)
    trail = Trail()
    trail.note(command.Post(batch), now_at())
    (step,) = trail.steps()
    assert step == {
        "unix_seconds": step["unix_seconds"],
        "kind": "post",
        "batch_id": batch.id,
        "application_id": batch.destination.application_id,
        "resource": "events",
        "rows": 2,
        "bytes": batch.body_bytes,
    }


def test_every_event_and_every_command_is_a_step() -> None:
    steps = {type(step) for step, _ in STEPS} | {command.Post}
    assert steps == {*get_args(Event), *get_args(Command)} - {event.TimePassed}


def test_the_steps_are_bounded_and_hold_no_record() -> None:
    trail = Trail()
    for offset in range(STEPS_MAX + 50):
        trail.note(event.Received(FIRST, RECORDS, offset), now_at())
    offsets = [step["next_offset"] for step in trail.steps()]
    assert offsets == list(range(50, STEPS_MAX + 50))

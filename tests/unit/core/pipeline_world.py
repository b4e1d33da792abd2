"""A pipeline with open settings, its time, and short words for what happens to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TypeVar

from tests.builders import (
    TOPIC,
    UNIX_SECONDS,
    FakeRecord,
    make_delivery_rules,
    make_ledger,
    make_rules,
    make_value,
    now_at,
)
from tests.log_lines import faults_of
from worker.core.batching.batcher import Batcher, BatchLimits
from worker.core.dedup.key_memory import KeyBudget
from worker.core.dedup.window import Window
from worker.core.delivery.dispatcher import Dispatcher
from worker.core.delivery.flow_control import Backoff
from worker.core.delivery.limiter import LimiterRules
from worker.core.intake.intake import Intake
from worker.core.intake.rules import Condition, Tombstones, WithoutKey
from worker.core.model.answer import Answer, Response
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import Command, Commit, Post, WriteLog
from worker.core.model.event import Answered, Assigned, Event, Received, TimePassed
from worker.core.model.record import Assignment, Position, Start
from worker.core.pipeline import Pipeline
from worker.core.post_api.resource import EVENTS, Resource
from worker.core.progress.clock_check import ClockCheck
from worker.core.progress.pressure import ReceptionControl
from worker.core.route import Components, Route, RouteRole
from worker.core.wire import commit_metadata

PARKING_TOPIC = f"{TOPIC}.parked"
HOME = Assignment(PARKING_TOPIC, 0, 3)
FIRST = Assignment(TOPIC, 0, 1)
SECOND = Assignment(TOPIC, 1, 2)
T = TypeVar("T")


def event(
    offset: int, application: int = 1, name: str | None = None, **fields: object
) -> FakeRecord:
    """A record of a valid event that no other offset shares."""
    own = {
        "application_id": application,
        "profile_id": f"user-{offset}",
        "event_name": name or f"event-{offset}",
        "event_timestamp": UNIX_SECONDS - 60,
    }
    return FakeRecord(offset, make_value(**(own | fields)))


def profile(offset: int, name: str, key: str | None = None) -> FakeRecord:
    """A record of a profile: another value at each offset."""
    value = {"application_id": 1, "profile_id": name, "attributes": {"offset": offset}}
    headers = () if key is None else (("event-id", key.encode()),)
    return FakeRecord(offset, json.dumps(value).encode(), headers=headers)


def ok() -> Response:
    """The API has loaded a batch."""
    return Response(200, None, "", 0.05)


def status(code: int, retry_after: str | None = None) -> Response:
    """The API answers with this status."""
    return Response(code, retry_after, "no", 0.05)


@dataclass
class World:
    """A pipeline, the time, and what it has asked for so far."""

    rows_max: int = 10
    in_flight_max: int = 4
    span_max: int = 1000
    chunk_max: int = 100
    memory_bytes_max: int = 10_000_000
    parks: bool = False
    without_key: WithoutKey | None = None
    select: tuple[Condition, ...] = ()
    tombstones: Tombstones = Tombstones.DEAD_LETTER
    # One of state, as profiles are, is ordered.
    resource: Resource = EVENTS
    # 0: the tests that aren't about clocks trust their own.
    clock_difference_seconds_max: float = 0
    seconds: float = 100.0
    pipeline: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        ledger = make_ledger(
            TOPIC, PARKING_TOPIC, memory_bytes_max=self.memory_bytes_max, span_max=self.span_max
        )
        ordered = {self.resource.name} if self.resource.is_state else set()
        delivery = make_delivery_rules(
            limiter=LimiterRules(self.in_flight_max, 1000),
            ordered=frozenset((TOPIC, name) for name in ordered),
        )
        rules = make_rules(
            resource=self.resource,
            applications=frozenset({1, 2}),
            key_header="event-id",
            without_key=self.without_key,
            select=self.select,
            tombstones=self.tombstones,
        )

        def route(prefix: str, role: RouteRole) -> Route:
            limits = BatchLimits(self.rows_max, 1_000_000, 1.0)
            batcher = Batcher(limits, prefix, ordered=ordered)
            return Route(
                Intake(rules),
                Window(KeyBudget(1000), rows_max=1000, age_seconds=3600.0),
                batcher,
                role,
            )

        routes = {
            TOPIC: route("b", RouteRole.SOURCE_WITH_PARKING if self.parks else RouteRole.SOURCE),
            PARKING_TOPIC: route("p", RouteRole.PARKING),
        }
        dispatcher = Dispatcher(delivery, Backoff(0.5, 60.0, lambda: 0.999), ledger.offsets.state)
        self.ledger = ledger
        self.components = Components(
            routes, dispatcher, ledger, ClockCheck(self.clock_difference_seconds_max)
        )
        self.pipeline = Pipeline(self.components, ReceptionControl(self.chunk_max))

    @property
    def now(self) -> Now:
        return now_at(self.seconds)

    def handle(self, event: Event) -> list[Command]:
        """Hand in an event; the account must balance afterwards, whatever it was."""
        commands = self.pipeline.handle(event, self.now)
        assert self.ledger.imbalance() == 0
        for line in only(WriteLog, commands):
            assert faults_of(line.event, line.severity, line.fields) == []
        return commands

    def wait(self, seconds: float) -> list[Command]:
        self.seconds += seconds
        return self.handle(TimePassed())

    def assign(self, *assignments: Assignment, position: int = 0) -> list[Command]:
        committed = Position(position, commit_metadata.encode(position, position, []))
        return self.handle(
            Assigned(tuple(Start(assignment, position, committed) for assignment in assignments))
        )

    def receive(self, *records: FakeRecord, assignment: Assignment = FIRST) -> list[Command]:
        return self.handle(Received(assignment, records, records[-1].offset + 1))

    def answer(self, batch: Batch, answer: Answer) -> list[Command]:
        return self.handle(Answered(batch.id, answer))


def only(kind: type[T], commands: list[Command]) -> list[T]:
    return [command for command in commands if isinstance(command, kind)]


def posted(commands: list[Command]) -> list[Batch]:
    return [command.batch for command in only(Post, commands)]


def committed(commands: list[Command]) -> dict[Assignment, int]:
    return {
        assignment: position.offset
        for command in only(Commit, commands)
        for assignment, position in command.positions.items()
    }


def offsets(batch: Batch) -> list[int]:
    """The offsets of a batch's rows."""
    return [row.record.offset for row in batch.rows]


def world_with_two_partitions() -> World:
    """A world that is assigned `FIRST` and `SECOND`, a second later."""
    world = World()
    world.assign(FIRST, SECOND)
    world.wait(1.0)
    return world

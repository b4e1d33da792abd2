"""The cost of a step of the pipeline, in operations: never the product of two numbers of things."""

from __future__ import annotations

import math
import tracemalloc
from collections import deque
from collections.abc import Callable
from sys import gettrace, settrace
from types import FrameType
from typing import Any, TypeAlias

from tests.builders import TOPIC
from tests.unit.core.pipeline_world import (
    FIRST,
    PARKING_TOPIC,
    World,
    event,
    only,
    status,
)
from worker.core.model.command import Command, Post, WriteParked
from worker.core.model.event import (
    Answered,
    Event,
    Lost,
    ParkingAcknowledged,
    Received,
    Revoked,
    TimePassed,
)
from worker.core.model.record import Assignment, Start
from worker.core.progress.offsets import Offsets
from worker.core.progress.pressure import Reach, ReceptionControl

PARTITIONS = 60
TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]


class Counted(Assignment):
    """An assignment that counts how often any of its kind is compared with another one."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return tuple.__eq__(self, other)

    __hash__ = Assignment.__hash__


def test_letting_go_compares_no_row_with_every_partition() -> None:
    world = World(rows_max=500, in_flight_max=1, span_max=10_000)
    assignments = tuple(
        Counted(TOPIC, partition, 100 + partition) for partition in range(PARTITIONS)
    )
    world.assign(*assignments)
    for assignment in assignments:
        start = assignment.partition * 50
        # A third is linked to a row of the first partition, a part is open, the rest waits or is in
        # flight.
        shared = [
            event(offset, name="shared", profile_id="shared") for offset in range(start, start + 17)
        ]
        world.receive(
            *shared,
            *(event(offset) for offset in range(start + 17, start + 50)),
            assignment=assignment,
        )
    assert (
        sum(route.window.linked for route in world.components.routes.values())
        == PARTITIONS * 17 - 1
    )
    Counted.comparisons = 0
    world.handle(Revoked(assignments, world.seconds + 10.0))
    world.handle(Lost(assignments))
    rows = PARTITIONS * 50
    assert Counted.comparisons <= rows, (
        "a row looks its partition up, and is compared with no other"
    )
    assert world.ledger.memory.held_bytes < 600 * 1000, "all but what is in flight is let go of"


def instructions(step: Callable[[], list[Command]]) -> tuple[int, list[Command]]:
    """How many instructions of the interpreter a step takes; and what it returns."""
    count = 0

    def note(frame: FrameType, what: str, _: Any) -> TraceFunction:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += what == "opcode"
        return note

    before = gettrace()
    settrace(note)
    try:
        commands = step()
    finally:
        settrace(before)
    return count, commands


def parking_costs(batches: int) -> list[int]:
    """A full partition of one-row batches, refused for their key: the instructions of each step."""
    world = World(rows_max=1, in_flight_max=8, span_max=batches, parks=True)
    world.assign(FIRST)
    events: deque[Event] = deque()
    for start in range(0, batches, 500):
        received = Received(
            FIRST, [event(offset) for offset in range(start, start + 500)], start + 500
        )
        for post in only(Post, world.pipeline.handle(received, world.now)):
            events.append(Answered(post.batch.id, status(403)))
    steps = []
    while events or (world.pipeline.next_deadline() or math.inf) <= world.seconds:
        happened = events.popleft() if events else TimePassed()
        count, commands = instructions(
            lambda happened=happened: world.pipeline.handle(happened, world.now)  # type: ignore[misc]
        )
        steps.append(count)
        for park in only(WriteParked, commands):
            events.extend(
                ParkingAcknowledged(park.rows[start : start + 100])
                for start in range(0, len(park.rows), 100)
            )
    account = world.ledger.counters.topics[TOPIC]
    assert account.parked >= batches // 2, (
        "all that pins the partition is parked, until it is received of again"
    )
    assert world.ledger.imbalance() == 0
    return steps


def test_parking_is_linear_and_comes_in_slices() -> None:
    few, many = parking_costs(1_500), parking_costs(6_000)
    assert sum(many) < 4.5 * sum(few)
    assert max(many) < 1.2 * max(few), "a step is bounded, however much waits"


def test_an_event_costs_the_same_with_many_partitions_as_with_few() -> None:
    def cost(partitions: int) -> int:
        world = World(parks=True)
        world.assign(
            *(Assignment(TOPIC, partition, 100 + partition) for partition in range(partitions))
        )
        world.wait(10.0)
        return instructions(lambda: world.pipeline.handle(TimePassed(), world.now))[0]

    assert cost(600) == cost(6)


def test_an_event_costs_the_same_with_many_batches_under_a_hold_as_with_few() -> None:
    def cost(batches: int) -> int:
        world = World(rows_max=1, in_flight_max=1, span_max=100_000, parks=True)
        world.assign(FIRST)
        (post,) = only(Post, world.receive(*(event(offset) for offset in range(batches))))
        world.answer(post.batch, status(403))
        while (
            deadline := world.pipeline.next_deadline()
        ) is not None and deadline <= world.seconds:
            world.handle(TimePassed())
        return instructions(lambda: world.pipeline.handle(TimePassed(), world.now))[0]

    # A walk over them would cost two fifths more. What is left depends on how the dictionaries lie.
    assert cost(5_000) < cost(50) * 1.1


def bytes_of_a_change(partitions: int) -> int:
    """The memory that a change of one partition takes, beside many that are over their span.

    A copy of a set is one instruction, and shows only as memory.
    """
    reception = ReceptionControl(10)
    assignments = [Assignment(TOPIC, partition, 1) for partition in range(partitions)]
    reception.change({assignment: Reach(100, 50) for assignment in assignments}, stop_all=False)
    reception.admit(frozenset(assignments[:1]))
    tracemalloc.start()
    reception.change({assignments[1]: Reach(101, 50)}, stop_all=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_a_change_of_one_partition_costs_nothing_for_the_others() -> None:
    assert bytes_of_a_change(2000) < 2 * bytes_of_a_change(20)


def test_a_commit_marks_only_partitions_whose_span_it_changes() -> None:
    offsets = Offsets(100, 10)
    for partition in range(10):
        offsets.assign(Start(Assignment(TOPIC, partition, 1), 0, None))
    offsets.take_changed()
    offsets.to_commit()
    assert offsets.take_changed() == set()


def cost_beside_held_partitions(partitions: int) -> int:
    """The instructions of an event, beside partitions on hold that are over their span."""
    world = World(rows_max=1, in_flight_max=100, span_max=1, parks=True)
    assignments = [Assignment(PARKING_TOPIC, partition, 1) for partition in range(partitions)]
    world.assign(FIRST, *assignments)
    batches = [
        post.batch
        for assignment in assignments
        for post in only(
            Post, world.receive(event(0, profile_id=str(assignment)), assignment=assignment)
        )
    ]
    for batch in batches:
        world.answer(batch, status(403))
    assert all(assignment in world.pipeline._reception.over_span for assignment in assignments)
    return instructions(lambda: world.pipeline.handle(TimePassed(), world.now))[0]


def test_an_event_costs_nothing_for_partitions_on_hold() -> None:
    assert cost_beside_held_partitions(80) == cost_beside_held_partitions(8)

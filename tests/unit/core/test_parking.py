"""Stories of parking: an application on hold must not stop its neighbours."""

from __future__ import annotations

from tests.builders import TOPIC, FakeRecord
from tests.unit.core.pipeline_world import (
    FIRST,
    HOME,
    PARKING_TOPIC,
    SECOND,
    World,
    committed,
    event,
    ok,
    only,
    posted,
    status,
)
from worker.core.model.command import (
    Command,
    Pause,
    Resume,
    WriteLog,
    WriteParked,
)
from worker.core.model.event import (
    Committed,
    ParkingAcknowledged,
    ParkingFailed,
)
from worker.core.model.record import Position


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

"""What one step of the pipeline costs, in operations: no step may grow with the product of two things that are held."""

from __future__ import annotations

from tests.test_pipeline import TOPIC, World, event
from worker.model.event import Lost, Revoked
from worker.model.record import Assignment

PARTITIONS = 60


class Counted(Assignment):
    """An assignment that counts how often any of its kind is compared with another one."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return tuple.__eq__(self, other)

    __hash__ = Assignment.__hash__


def test_letting_go_compares_no_row_with_every_partition() -> None:
    world = World(rows_max=500, in_flight_max=1, span_max=10_000)
    assignments = tuple(Counted(TOPIC, partition, 100 + partition) for partition in range(PARTITIONS))
    world.assign(*assignments)
    for assignment in assignments:
        start = assignment.partition * 50
        # A third is linked to a row of the first partition, a part is open, the rest waits or is in flight.
        shared = [event(offset, name="shared", profile_id="shared") for offset in range(start, start + 17)]
        world.receive(*shared, *(event(offset) for offset in range(start + 17, start + 50)), assignment=assignment)
    assert sum(route.window.linked for route in world.rooms.routes.values()) == PARTITIONS * 17 - 1
    Counted.comparisons = 0
    world.tell(Revoked(assignments, world.seconds + 10.0))
    world.tell(Lost(assignments))
    rows = PARTITIONS * 50
    assert Counted.comparisons <= rows, "a row looks its partition up, and is compared with no other"
    assert world.ledger.memory.held_bytes < 500 * 1000, "all but what is in flight is let go of"

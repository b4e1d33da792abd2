"""Drains: over when nothing moves any more, or when time is up."""

from __future__ import annotations

from collections.abc import Collection

from tests.builders import make_assignment
from worker.core.draining import Drains
from worker.core.model.record import Assignment

FIRST, SECOND = make_assignment(0), make_assignment(1)


class Motion:
    """How many records of each assignment are being worked on."""

    def __init__(self) -> None:
        self.records = {FIRST: 1, SECOND: 1}

    def __call__(self, assignments: Collection[Assignment]) -> int:
        return sum(self.records[assignment] for assignment in assignments)


def test_a_drain_is_over_when_nothing_of_it_moves() -> None:
    drains, motion = Drains(), Motion()
    drains.begin([FIRST], 0.0, 10.0, is_stop=False)
    assert drains.over(0.0, motion) == []
    motion.records[FIRST] = 0
    (drain,) = drains.over(0.0, motion)
    assert (drain.assignments, drain.is_stop, drain.is_committed) == (
        frozenset({FIRST}),
        False,
        False,
    )


def test_a_drain_is_over_when_its_time_is_up() -> None:
    drains, motion = Drains(), Motion()
    drains.begin([FIRST, SECOND], 0.0, 10.0, is_stop=False)
    assert drains.over(9.99, motion) == []
    assert len(drains.over(10.0, motion)) == 1
    assert drains.next_deadline() is None, "its time can't run out again"


def test_in_the_last_third_of_a_drain_nothing_is_sent_any_more() -> None:
    drains = Drains()
    drains.begin([FIRST], 1.0, 10.0, is_stop=False)
    assert drains.next_deadline() == 7.0
    assert drains.to_silence(6.99) == []
    assert [drain.assignments for drain in drains.to_silence(7.0)] == [{FIRST}]
    assert drains.to_silence(8.0) == []
    assert drains.next_deadline() == 10.0


def test_a_drain_once_over_stays_over_until_it_is_ended() -> None:
    drains, motion = Drains(), Motion()
    drains.begin([FIRST], 0.0, 10.0, is_stop=False)
    motion.records[FIRST] = 0
    (drain,) = drains.over(0.0, motion)
    motion.records[FIRST] = 1
    assert drains.over(0.0, motion) == [drain]
    drains.end(drain)
    assert drains.over(99.0, motion) == []


def test_several_drains_go_on_beside_each_other_oldest_first() -> None:
    drains, motion = Drains(), Motion()
    drains.begin([FIRST], 0.0, 10.0, is_stop=False)
    drains.begin([SECOND], 0.0, 5.0, is_stop=True)
    assert [drain.assignments for drain in drains.over(5.0, motion)] == [{SECOND}]
    assert [drain.assignments for drain in drains.over(10.0, motion)] == [{FIRST}, {SECOND}]


def test_a_stop_is_told_from_a_revocation() -> None:
    drains, motion = Drains(), Motion()
    seen = [drains.is_stopping]
    drains.begin([FIRST], 0.0, 10.0, is_stop=False)
    seen.append(drains.is_stopping)
    drains.begin([], 0.0, 10.0, is_stop=True)
    seen.append(drains.is_stopping)
    (stop,) = drains.over(0.0, motion)
    assert stop.is_stop, "with no partition there is nothing to wait for"
    drains.end(stop)
    assert [*seen, drains.is_stopping] == [False, False, True, False]


def test_without_a_drain_there_is_no_deadline() -> None:
    assert Drains().next_deadline() is None

"""Holds: one probe at a time per application, rotation among its batches, and order of arrival."""

from __future__ import annotations

import pytest

from tests.builders import make_assignment, make_batch, make_destination, now_at
from worker.core.counters.snapshot import HoldStatus
from worker.core.delivery.holds import SYSTEMIC, Holds
from worker.core.model.batch import Batch
from worker.core.model.record import Assignment

ONE, OTHER = 1111, 2222


def batch_of(batch_id: str, rows: int = 1, application_id: int = ONE) -> Batch:
    return make_batch(rows, batch_id=batch_id, destination=make_destination(application_id))


def held(*batches: Batch, probe_seconds: float = 30.0) -> Holds:
    holds = Holds(probe_seconds)
    for batch in batches:
        holds.begin(batch.destination.application_id, "http_403", now_at(0))
        holds.add(batch)
    return holds


def probe(holds: Holds, monotonic_seconds: float) -> Batch:
    batch = holds.due(monotonic_seconds)
    assert batch is not None
    return batch


def test_the_first_probe_is_due_an_interval_after_the_hold_began() -> None:
    holds = held(batch_of("a"))
    assert holds.next_deadline() == 30.0
    assert holds.due(29.9) is None
    assert probe(holds, 30.0).id == "a"


def test_there_is_one_probe_at_a_time() -> None:
    holds = held(batch_of("a"), batch_of("b"))
    first = probe(holds, 30.0)
    assert holds.is_probe(first)
    assert holds.due(1000.0) is None
    assert holds.next_deadline() is None


def test_after_a_failed_probe_the_next_is_an_interval_away_or_as_long_as_the_api_asks() -> None:
    holds = held(batch_of("a"))
    holds.end_probe(first := probe(holds, 30.0), first, 31.0, wait_seconds_min=0.0)
    assert not holds.is_probe(first)
    assert holds.next_deadline() == 61.0
    holds.end_probe(second := probe(holds, 61.0), second, 62.0, wait_seconds_min=200.0)
    assert holds.next_deadline() == 262.0


def test_the_batch_probed_least_often_goes_first_the_smallest_among_those() -> None:
    holds = held(batch_of("large", 3), batch_of("small", 1), batch_of("middle", 2))
    order = []
    now = 0.0
    for _ in range(6):
        now += 30.0
        batch = probe(holds, now)
        order.append(batch.id)
        holds.end_probe(batch, batch, now, wait_seconds_min=0.0)
    assert order == ["small", "middle", "large"] * 2


def test_a_hold_heals_with_its_batches_in_the_order_in_which_they_came() -> None:
    holds = held(batch_of("a", 3), batch_of("b", 2), batch_of("c", 1), batch_of("d", 1, OTHER))
    assert probe(holds, 30.0).id == "c"
    assert [batch.id for batch in holds.heal(ONE)] == ["a", "b"]
    assert holds.reason(ONE) is None
    assert holds.reason(OTHER) == "http_403"


def test_each_application_has_probes_of_its_own() -> None:
    holds = held(batch_of("a"), batch_of("b", 1, OTHER))
    assert {probe(holds, 30.0).id, probe(holds, 30.0).id} == {"a", "b"}


def test_a_newer_reason_is_noted_and_the_hold_goes_on() -> None:
    holds = held(batch_of("a"))
    holds.begin(ONE, "http_404", now_at(20))
    assert holds.reason(ONE) == "http_404"
    assert holds.next_deadline() == 30.0
    assert holds.status(now_at(20))[0].since_unix_seconds == now_at(0).unix_seconds


def test_nothing_is_due_for_a_hold_without_batches() -> None:
    holds = Holds(30.0)
    holds.begin(ONE, "http_403", now_at(0))
    assert (holds.next_deadline(), holds.due(1e6)) == (None, None)
    holds.add(batch_of("late"))
    assert probe(holds, 1e6).id == "late"


def test_a_probe_that_ends_with_nothing_left_keeps_the_hold() -> None:
    holds = held(batch_of("a"))
    holds.end_probe(probe(holds, 30.0), None, 31.0, wait_seconds_min=0.0)
    assert holds.waiting() == []
    assert holds.reason(ONE) == "http_403"


def test_a_probe_that_loses_rows_before_it_is_sent_goes_on_as_what_is_left() -> None:
    holds = held(batch_of("a", 2), batch_of("b", 3))
    whole = probe(holds, 30.0)
    rest = batch_of("a.kept", 1)
    holds.replace_probe(whole, rest, 30.0)
    assert holds.is_probe(rest)
    assert not holds.is_probe(whole)
    holds.end_probe(rest, rest, 31.0, wait_seconds_min=0.0)
    assert probe(holds, 61.0).id == "b", "what was probed before still counts as probed"


def test_a_probe_of_which_nothing_is_left_makes_room_for_another_at_once() -> None:
    holds = held(batch_of("a", 1), batch_of("b", 2))
    holds.replace_probe(probe(holds, 30.0), None, 30.0)
    assert probe(holds, 30.0).id == "b"


def test_what_is_no_probe_cannot_end_as_one() -> None:
    holds = held(batch_of("a"), batch_of("b", 2))
    with pytest.raises(RuntimeError, match="batch b is not the probe of application 1111"):
        holds.end_probe(batch_of("b"), None, 0.0, wait_seconds_min=0.0)
    probe(holds, 30.0)
    with pytest.raises(RuntimeError, match="batch b is not the probe"):
        holds.replace_probe(batch_of("b"), None, 0.0)
    assert not holds.is_probe(batch_of("c", 1, OTHER))


def test_waiting_batches_are_replaced_or_dropped_and_keep_their_count_of_probes() -> None:
    holds = held(batch_of("a", 1), batch_of("b", 2), batch_of("c", 3))
    holds.end_probe(first := probe(holds, 30.0), first, 30.0, wait_seconds_min=0.0)
    fates = {"a": batch_of("a.kept"), "b": None, "c": batch_of("c", 3)}
    holds.replace_waiting(lambda batch: fates[batch.id])
    assert sorted(batch.id for batch in holds.waiting()) == ["a.kept", "c"]
    assert probe(holds, 60.0).id == "c"


def test_the_status_shows_since_when_why_how_many_and_when_next() -> None:
    holds = held(batch_of("a", 2), batch_of("b", 3))
    start = now_at(0).unix_seconds
    assert holds.status(now_at(10)) == [
        HoldStatus(ONE, "http_403", start, start + 30.0, 5, is_parking=False)
    ]
    probe(holds, 30.0)
    assert holds.status(now_at(40)) == [
        HoldStatus(ONE, "http_403", start, start + 40.0, 5, is_parking=False)
    ]


class TestParking:
    TOPICS = frozenset({"offline-events"})

    def held(self, *batches: Batch) -> Holds:
        holds = Holds(30.0)
        holds.begin(ONE, "http_403", now_at(0))
        for batch in batches:
            holds.add(batch)
        return holds

    def taken(
        self,
        holds: Holds,
        over_span: dict[Assignment, int],
        *,
        bytes_min: int = 10**9,
        topics: frozenset[str] = TOPICS,
    ) -> list[Batch]:
        holds.choose_for_parking(over_span, bytes_min=bytes_min, topics=topics)
        taken = holds.take_chosen(1000)
        assert holds.take_chosen(1000) == []
        return taken

    def test_what_is_chosen_is_taken_in_slices_and_counts_as_waiting_until_then(self) -> None:
        batches = [
            make_batch(3, batch_id=name, start=start)
            for name, start in (("a", 10), ("b", 20), ("c", 30))
        ]
        holds = self.held(*batches)
        holds.choose_for_parking({make_assignment(): 10}, bytes_min=10**9, topics=self.TOPICS)
        assert (holds.has_chosen, holds.status(now_at(1))[0].rows, holds.waiting()) == (
            True,
            9,
            batches,
        )
        assert holds.take_chosen(4) == batches[:2]
        assert (holds.has_chosen, holds.status(now_at(1))[0].rows) == (True, 3)
        later = make_batch(3, batch_id="d", start=40)
        holds.add(later)
        assert (holds.take_chosen(4), holds.take_chosen(4)) == (batches[2:], [])
        assert (holds.has_chosen, holds.waiting()) == (False, [later]), (
            "what came after the choice waits on"
        )

    def test_what_is_chosen_is_sent_like_all_else_when_the_hold_heals_before_it_is_taken(
        self,
    ) -> None:
        first, second = make_batch(1, batch_id="a", start=10), make_batch(1, batch_id="b", start=20)
        holds = self.held(first)
        holds.choose_for_parking({make_assignment(): 10}, bytes_min=10**9, topics=self.TOPICS)
        holds.add(second)
        assert holds.heal(ONE) == [first, second]
        assert not holds.has_chosen

    def test_what_is_chosen_loses_the_rows_of_partitions_that_leave(self) -> None:
        holds = self.held(make_batch(1, start=10))
        holds.choose_for_parking({make_assignment(): 10}, bytes_min=10**9, topics=self.TOPICS)
        holds.replace_waiting(lambda _: None)
        assert holds.take_chosen(1000) == []
        assert not holds.has_chosen

    def test_a_hold_that_pins_a_partition_over_its_span_gives_up_what_waits_and_parks_from_then_on(
        self,
    ) -> None:
        first, second = make_batch(3, batch_id="a", start=10), make_batch(3, batch_id="b", start=20)
        holds = self.held(first, second)
        assert self.taken(holds, {make_assignment(): 10}) == [first, second]
        assert (holds.is_parking, holds.goes_to_parking(ONE), holds.lacks_untried(ONE)) == (
            True,
            True,
            True,
        )

    @pytest.mark.parametrize(
        ("over_span", "topics"),
        [
            ({}, TOPICS),
            ({make_assignment(): 9}, TOPICS),
            ({make_assignment(1): 10}, TOPICS),
            ({make_assignment(): 10}, frozenset[str]()),
        ],
        ids=[
            "nothing is wide",
            "another record pins it",
            "another partition is wide",
            "the route doesn't park",
        ],
    )
    def test_otherwise_it_keeps_what_waits(
        self, over_span: dict[Assignment, int], topics: frozenset[str]
    ) -> None:
        holds = self.held(make_batch(3, start=10))
        assert self.taken(holds, over_span, topics=topics) == []
        assert (holds.is_parking, holds.goes_to_parking(ONE)) == (False, False)

    def test_a_hold_that_alone_fills_the_memory_parks(self) -> None:
        batch = make_batch(3)
        size = sum(row.size_bytes for row in batch.rows)
        assert self.taken(self.held(batch), {}, bytes_min=size + 1) == []
        assert self.taken(self.held(batch), {}, bytes_min=size) == [batch]

    def test_it_has_a_probe_while_something_waits_or_is_under_way(self) -> None:
        holds = self.held(make_batch(1))
        assert not holds.lacks_untried(ONE)
        assert holds.due(30.0) is not None
        assert not holds.lacks_untried(ONE)

    @pytest.mark.parametrize("reason", [SYSTEMIC, "http_403"])
    def test_batches_that_were_probes_in_vain_are_none(self, reason: str) -> None:
        # All that waits may be bad rows, while good ones go to the parking topic: with these alone
        # the hold would never heal.
        holds = Holds(30.0)
        holds.begin(ONE, reason, now_at(0))
        holds.add(make_batch(1, batch_id="a"))
        assert not holds.lacks_untried(ONE)
        holds.end_probe(first := probe(holds, 30.0), first, 31.0, wait_seconds_min=0.0)
        assert holds.lacks_untried(ONE)
        holds.add(fresh := make_batch(1, batch_id="b", start=10))
        assert not holds.lacks_untried(ONE)
        assert probe(holds, 61.0) is fresh

    def test_an_application_that_heals_parks_no_more(self) -> None:
        holds = self.held(make_batch(3, start=10))
        assert len(self.taken(holds, {make_assignment(): 10})) == 1
        assert holds.heal(ONE) == []
        assert (holds.is_parking, holds.goes_to_parking(ONE), holds.lacks_untried(ONE)) == (
            False,
            False,
            False,
        )

    def test_partitions_with_rows_under_a_hold_are_known_and_named_when_they_change(self) -> None:
        first, fifth = make_assignment(), make_assignment(5)
        holds = self.held(
            make_batch(2, batch_id="a"), make_batch(1, batch_id="b", assignment=fifth)
        )
        assert holds.partitions.take_changed() == {first, fifth}
        assert holds.partitions.take_changed() == set()
        assert holds.due(30.0) is not None
        assert holds.partitions.take_changed() == {fifth}
        assert (first in holds.partitions, fifth in holds.partitions) == (True, False)
        holds.heal(ONE)
        assert holds.partitions.take_changed() == {first}
        assert first not in holds.partitions


def test_a_hold_is_tried_again_at_once_when_something_has_changed() -> None:
    holds = held(batch_of("a"))
    holds.try_again(OTHER, 5.0)
    assert holds.due(5.0) is None
    holds.try_again(ONE, 5.0)
    assert holds.next_deadline() == 5.0
    assert holds.due(5.0) is not None

"""The window: new, then in flight, then delivered; and links between rows of one key."""

from __future__ import annotations

from collections.abc import Set

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import structs

from tests.builders import DESTINATION, UNIX_SECONDS, FakeRecord, make_assignment, make_row, now_at
from tests.searches import examples
from worker.core.dedup.key_memory import KeyBudget
from worker.core.dedup.window import Window
from worker.core.model.record import Assignment
from worker.core.model.row import Row

FIRST, SECOND = make_assignment(0), make_assignment(1)
DAY = 86_400.0


def row(offset: int, key: bytes = b"k", assignment: Assignment = FIRST) -> Row:
    return make_row(offset, key=key, assignment=assignment)


def keys(*rows: Row) -> list[bytes]:
    return [row.key for row in rows]


def make_window(rows_max: int = 80, age_seconds: float = DAY) -> Window:
    return Window(KeyBudget(rows_max), rows_max=rows_max, age_seconds=age_seconds)


def test_a_new_key_goes_on_and_is_in_flight_from_then_on() -> None:
    window = make_window()
    first, again = row(0), row(1)
    assert window.admit([first], 0.0).fresh == [first]
    admission = window.admit([again], 0.0)
    assert (admission.fresh, admission.duplicates, window.linked) == ([], [], 1)
    assert window.rows == 0


def test_a_key_that_is_not_in_flight_is_not_delivered() -> None:
    window = make_window()
    window.admit([row(0)], 0.0)
    for delivered in ([b"k", b"other"], [b"k"]):
        with pytest.raises(KeyError, match="1 keys are not in flight"):
            window.deliver(delivered, 0.0)


def test_two_rows_of_one_key_in_one_chunk_are_linked() -> None:
    window = make_window()
    first, again, other = row(0), row(1), row(2, b"other")
    admission = window.admit([first, again, other], 0.0)
    assert admission.fresh == [first, other]
    assert window.linked == 1


def test_a_delivered_row_settles_those_linked_to_it_in_order() -> None:
    window = make_window()
    rows = [row(offset) for offset in range(4)]
    window.admit(rows, 0.0)
    assert window.deliver(keys(rows[0]), 1.0) == rows[1:]
    assert (window.linked, window.rows) == (0, 1)


class TestParking:
    def test_a_correction_whose_line_reads_the_same_under_other_columns_is_no_duplicate(
        self,
    ) -> None:
        window = make_window()
        parked, linked, later = (
            make_row(
                offset,
                key=b"k" * 16,
                line=b"1111,u,x\n",
                destination=DESTINATION._replace(filled=filled),
            )
            for offset, filled in enumerate((0b10011, 0b100011, 0b1000011))
        )
        window.admit([parked, linked], 0.0)
        assert window.park([parked], 1.0) == ([], [linked])
        window.take_back([linked])
        assert window.admit([later], 2.0).fresh == [later]

    def test_a_parked_event_that_comes_again_is_a_duplicate_and_its_correction_is_not(self) -> None:
        window = make_window()
        parked = make_row(0, key=b"k" * 16, line=b"first\n")
        window.admit([parked], 0.0)
        assert window.park([parked], 1.0) == ([], [])
        again = make_row(1, key=b"k" * 16, line=b"first\n")
        corrected = make_row(2, key=b"k" * 16, line=b"corrected\n")
        admission = window.admit([again, corrected], 2.0)
        assert (admission.fresh, admission.duplicates) == ([corrected], [again])

    def test_linked_rows_are_settled_with_it_or_take_its_place(self) -> None:
        window = make_window()
        first, again = (make_row(offset, key=b"k" * 16, line=b"first\n") for offset in (0, 1))
        corrected, once_more = (
            make_row(offset, key=b"k" * 16, line=b"corrected\n") for offset in (2, 3)
        )
        window.admit([first, again, corrected, once_more], 0.0)
        assert window.park([first], 1.0) == ([again], [corrected])
        assert window.linked == 1
        assert window.deliver(keys(corrected), 2.0) == [once_more]

    def test_it_is_forgotten_with_age(self) -> None:
        window = make_window(age_seconds=8.0)
        parked, again = (make_row(offset, key=b"k" * 16, line=b"first\n") for offset in (0, 1))
        window.admit([parked], 0.0)
        window.park([parked], 0.0)
        assert window.rows == 1
        assert window.admit([again], 8.0).fresh == [again]


def test_a_replay_passes_what_was_delivered_and_is_linked_to_what_is_in_flight() -> None:
    window = make_window()
    first = row(0)
    window.admit([first], 0.0)
    window.deliver(keys(first), 1.0)
    replay, again = (structs.replace(row(offset), is_replay=True) for offset in (1, 2))
    assert window.admit([replay], 2.0).fresh == [replay]
    admission = window.admit([again], 3.0)
    assert (admission.fresh, admission.duplicates, window.linked) == ([], [], 1)


def test_a_key_is_a_duplicate_only_once_it_is_delivered() -> None:
    window = make_window()
    first, again = row(0), row(1)
    window.admit([first], 0.0)
    window.deliver(keys(first), 1.0)
    admission = window.admit([again], 2.0)
    assert (admission.fresh, admission.duplicates) == ([], [again])


def test_a_refused_key_may_come_again_and_goes_through() -> None:
    window = make_window()
    first, again = row(0), row(1)
    window.admit([first], 0.0)
    assert window.take_back([first]) == []
    assert window.admit([again], 1.0).fresh == [again]


def test_the_oldest_linked_row_takes_the_place_of_one_that_leaves() -> None:
    window = make_window()
    rows = [row(offset) for offset in range(3)]
    window.admit(rows, 0.0)
    assert window.take_back([rows[0]]) == [rows[1]]
    assert window.linked == 1
    assert window.deliver(keys(rows[1]), 1.0) == [rows[2]]


def test_promotion_goes_on_until_nobody_is_left() -> None:
    window = make_window()
    rows = [row(offset) for offset in range(3)]
    window.admit(rows, 0.0)
    for leaver, successors in ((rows[0], [rows[1]]), (rows[1], [rows[2]]), (rows[2], [])):
        assert window.take_back([leaver]) == successors
    assert window.admit([rows[0]], 1.0).fresh == [rows[0]]


def test_unlinking_takes_out_the_rows_of_those_partitions_only() -> None:
    window = make_window()
    leader = row(0)
    mine, theirs, mine_too = row(1), row(2, assignment=SECOND), row(3)
    alone = row(4, b"alone", SECOND)
    follower = row(5, b"alone", SECOND)
    window.admit([leader, mine, theirs, mine_too, alone, follower], 0.0)
    assert window.unlink({SECOND}) == [theirs, follower]
    assert window.unlink({SECOND}) == []
    assert window.deliver(keys(leader, alone), 1.0) == [mine, mine_too]


def test_a_delivered_key_is_forgotten_after_its_time() -> None:
    window = make_window(age_seconds=80.0)
    first = row(0)
    window.admit([first], 0.0)
    window.deliver(keys(first), 0.0)
    assert window.admit([row(1)], 79.9).duplicates
    assert window.admit([row(2)], 80.0).fresh


@pytest.mark.parametrize("age_seconds", [0, DAY + 1], ids=["young", "old"])
@pytest.mark.parametrize("timestamp", [-1, 0, None], ids=["none", "a zero", "dated"])
def test_what_was_settled_before_is_known_again_as_long_as_it_is_young(
    timestamp: int | None, age_seconds: float
) -> None:
    window = make_window()
    written = int(UNIX_SECONDS - age_seconds)
    record = FakeRecord(0, timestamp=written * 1000 if timestamp is None else timestamp)
    settled = [
        make_row(0, key=key, record=record, event_timestamp=written)
        for key in (b"delivered", b"parked")
    ]
    window.restore(settled[:1], settled[1:], now_at(0), named_from_milliseconds=0)
    again = [row(1, b"delivered"), make_row(2, key=b"parked", line=settled[1].line)]
    assert len(window.admit(again, 0.0).duplicates) == (2 if age_seconds == 0 else 0)


@pytest.mark.parametrize(("written", "is_known"), [(-1, False), (0, True)])
def test_a_row_of_which_it_is_unknown_whether_it_was_refused_is_not_remembered(
    written: int, is_known: bool
) -> None:
    window = make_window()
    named_from = round(UNIX_SECONDS) * 1000
    record = FakeRecord(0, timestamp=named_from + written)
    settled = make_row(0, key=b"settled", record=record)
    window.restore([settled], [], now_at(0), named_from_milliseconds=named_from)
    assert bool(window.admit([row(1, b"settled")], 0.0).duplicates) == is_known


def test_a_key_in_flight_is_never_forgotten() -> None:
    window = make_window(age_seconds=80.0)
    window.admit([row(0)], 0.0)
    assert window.admit([row(1)], 100 * DAY).fresh == []


def test_a_row_that_is_not_in_flight_cannot_be_settled() -> None:
    window = make_window()
    with pytest.raises(KeyError):
        window.deliver(keys(row(0)), 0.0)
    with pytest.raises(KeyError):
        window.take_back([row(0)])


class WindowAgainstAModel(RuleBasedStateMachine):
    """The window beside a list of states: each row is fresh, linked or gone, by plain books."""

    def __init__(self) -> None:
        super().__init__()
        self.window = make_window(rows_max=80_000)
        self.offset = 0
        self.leaders: dict[bytes, Row] = {}
        self.queues: dict[bytes, list[Row]] = {}
        self.delivered: set[bytes] = set()

    @rule(
        keys=st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=4),
        assignment=st.sampled_from([FIRST, SECOND]),
    )
    def admit(self, keys: list[bytes], assignment: Assignment) -> None:
        rows = [row(self.offset + index, key, assignment) for index, key in enumerate(keys)]
        self.offset += len(rows)
        fresh, duplicates = [], []
        for one in rows:
            if one.key in self.leaders:
                self.queues.setdefault(one.key, []).append(one)
            elif one.key in self.delivered:
                duplicates.append(one)
            else:
                self.leaders[one.key] = one
                fresh.append(one)
        admission = self.window.admit(rows, 0.0)
        assert (admission.fresh, admission.duplicates) == (fresh, duplicates)

    @precondition(lambda self: self.leaders)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.leaders)))
        leader = self.leaders.pop(key)
        self.delivered.add(key)
        assert self.window.deliver(keys(leader), 0.0) == self.queues.pop(key, [])

    @precondition(lambda self: self.leaders)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.leaders)))
        leader = self.leaders.pop(key)
        queue = self.queues.get(key, [])
        promoted = [queue.pop(0)] if queue else []
        self.leaders |= {successor.key: successor for successor in promoted}
        assert self.window.take_back([leader]) == promoted

    @rule(assignments=st.sets(st.sampled_from([FIRST, SECOND])))
    def unlink(self, assignments: Set[Assignment]) -> None:
        expected = {
            one.record.offset
            for queue in self.queues.values()
            for one in queue
            if one.assignment in assignments
        }
        self.queues = {
            key: [one for one in queue if one.assignment not in assignments]
            for key, queue in self.queues.items()
        }
        removed = self.window.unlink(assignments)
        assert {one.record.offset for one in removed} == expected
        assert len(removed) == len(expected)

    @invariant()
    def counts_agree(self) -> None:
        assert self.window.linked == sum(len(queue) for queue in self.queues.values())
        assert self.window.rows == len(self.delivered)


WindowAgainstAModel.TestCase.settings = settings(examples(50), stateful_step_count=30)
TestWindowAgainstAModel = WindowAgainstAModel.TestCase

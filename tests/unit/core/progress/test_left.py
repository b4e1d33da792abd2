"""What is left: of partitions that are ours, and of those that went away and are nobody's yet."""

from __future__ import annotations

from tests.builders import make_assignment, make_record, make_rows, now_at
from tests.unit.core.progress.test_ledger import make_ledger
from worker.core.model.record import Position, Start
from worker.core.progress.ledger import Ledger
from worker.core.progress.left import Left

FIRST, AGAIN = make_assignment(0), make_assignment(0, epoch=2)


def with_three_of_five_settled() -> Ledger:
    ledger = make_ledger()
    ledger.assign([Start(FIRST, 10, Position(10))])
    ledger.receive(FIRST, [make_record(offset) for offset in range(10, 15)], 15)
    rows = make_rows(5, start=10)
    ledger.reserve(rows)
    ledger.deliver(rows[:3], now_at(0))
    return ledger


def test_what_is_settled_is_left_until_it_is_committed() -> None:
    ledger = with_three_of_five_settled()
    assert ledger.left() == Left(unsettled=2, uncommitted=3)
    ledger.offsets.commit({FIRST: Position(13)})
    assert ledger.left() == Left(unsettled=2)


def test_what_was_never_committed_counts_from_where_it_began() -> None:
    ledger = make_ledger()
    ledger.assign([Start(FIRST, 10, None)])
    assert not any(ledger.left())
    ledger.receive(FIRST, [], 12)
    assert ledger.left() == Left(uncommitted=2)


def test_what_a_partition_leaves_behind_is_left_while_it_is_nobodys() -> None:
    ledger = with_three_of_five_settled()
    ledger.remove([FIRST])
    assert ledger.left() == Left(2, 3)
    ledger.abandoned.keep_only({FIRST.topic_partition})
    assert ledger.left() == Left(2, 3), "it is to be ours again, and has not begun"
    ledger.assign([Start(AGAIN, 10, Position(10))])
    assert not any(ledger.left()), "it is received again"


def test_what_another_member_has_is_left_no_more() -> None:
    ledger = with_three_of_five_settled()
    ledger.remove([FIRST])
    ledger.abandoned.keep_only(frozenset())
    assert not any(ledger.left())


def test_a_partition_that_leaves_nothing_is_not_remembered() -> None:
    ledger = make_ledger()
    ledger.assign([Start(FIRST, 10, Position(10))])
    ledger.remove([FIRST])
    assert not any(ledger.left())

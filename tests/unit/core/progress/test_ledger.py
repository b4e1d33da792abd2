"""The ledger: offsets, account and memory move together, and the account explains every record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    TOPIC,
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_ledger,
    make_row,
    now_at,
)
from tests.searches import examples
from worker.core.counters.counters import TopicCounters
from worker.core.model.batch import shares_of
from worker.core.model.event import Received
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import Assignment, Start
from worker.core.model.row import Row
from worker.core.progress.ledger import Ledger

FIRST, SECOND = make_assignment(0), make_assignment(1)


def two_partitions() -> Ledger:
    ledger = make_ledger(TOPIC, "idle")
    ledger.assign([Start(FIRST, 0, None), Start(SECOND, 0, None)])
    return ledger


def receive(
    ledger: Ledger, count: int, *, start: int = 0, assignment: Assignment = FIRST
) -> list[Row]:
    records = [FakeRecord(offset, b"value") for offset in range(start, start + count)]
    ledger.receive(Received(assignment, records, start + count), now_at())
    rows = [make_row(record.offset, assignment=assignment, record=record) for record in records]
    ledger.reserve(rows)
    return rows


def rejection(row: Row, reason: Reason = Reason.REFUSED) -> Rejection:
    return Rejection(
        row.assignment, row.record, (FieldFault(reason, "", "because"),), row.size_bytes
    )


def topic(ledger: Ledger) -> TopicCounters:
    return ledger.counters.topics[TOPIC]


def positions(ledger: Ledger) -> dict[Assignment, int]:
    """What is to be committed, the hints left out."""
    return {
        assignment: position.offset for assignment, position in ledger.offsets.to_commit().items()
    }


def test_received_records_are_counted_and_held() -> None:
    ledger = two_partitions()
    rows = receive(ledger, 3)
    ledger.receive(Received(FIRST, [FakeRecord(3, None)], 4), now_at())
    assert (topic(ledger).consumed, topic(ledger).consumed_bytes) == (4, 15)
    assert ledger.memory.held_bytes == sum(row.size_bytes for row in rows)
    assert ledger.offsets.tracker(FIRST).unsettled == 4
    assert ledger.imbalance() == 0


def test_delivered_rows_are_settled_counted_and_let_go() -> None:
    ledger = two_partitions()
    rows = [*receive(ledger, 2), *receive(ledger, 1, assignment=SECOND)]
    ledger.deliver(shares_of(rows), now_at(10))
    assert topic(ledger).delivered == 3
    assert ledger.memory.held_bytes == 0
    assert positions(ledger) == {FIRST: 2, SECOND: 1}
    assert ledger.counters.last_delivery_unix_seconds == UNIX_SECONDS + 10
    assert ledger.counters.delivery_latency_seconds.sum == 30.0
    assert ledger.counters.event_age_seconds.sum == 30.0
    assert ledger.imbalance() == 0


@pytest.mark.parametrize(
    "timestamp", [-1, 0, -62_135_596_800_000], ids=["none", "a zero", "a client's year 1"]
)
def test_a_record_without_a_time_has_no_latency_and_is_counted(timestamp: int) -> None:
    ledger = two_partitions()
    undated, dated = FakeRecord(0, b"value", timestamp=timestamp), FakeRecord(1, b"value")
    ledger.receive(Received(FIRST, [undated, dated], 2), now_at())
    rows = [make_row(record.offset, record=record) for record in (undated, dated)]
    ledger.reserve(rows)
    ledger.deliver(shares_of(rows), now_at(10))
    account = ledger.counters
    assert (
        account.delivery_latency_seconds.cumulative()[-1],
        account.delivery_latency_seconds.sum,
    ) == (1, 10.0)
    assert account.event_age_seconds.cumulative()[-1] == 2
    assert topic(ledger).records_undated == 1


def test_what_is_dated_ahead_makes_no_sum_fall_and_is_counted() -> None:
    ledger = two_partitions()
    ahead = make_row(
        0,
        record=FakeRecord(0, b"value", timestamp=(UNIX_SECONDS + 500) * 1000),
        event_timestamp=UNIX_SECONDS + 3600,
    )
    behind = make_row(1, record=FakeRecord(1, b"value"))
    ledger.receive(Received(FIRST, [ahead.record, behind.record], 2), now_at())
    ledger.reserve([ahead, behind])
    ledger.deliver(shares_of([behind]), now_at(10))
    before = (ledger.counters.event_age_seconds.sum, ledger.counters.delivery_latency_seconds.sum)
    ledger.deliver(shares_of([ahead]), now_at(10))
    account = ledger.counters
    assert (
        (account.event_age_seconds.sum, account.delivery_latency_seconds.sum)
        == before
        == (10.0, 10.0)
    )
    assert account.event_age_seconds.cumulative()[0] == 1, "its age counts as 0"
    assert (
        account.event_age_seconds.cumulative()[-1]
        == account.delivery_latency_seconds.cumulative()[-1]
        == 2
    )
    assert (topic(ledger).events_ahead, topic(ledger).records_ahead) == (1, 1)


def test_duplicates_and_dead_letters_are_settled_under_their_own_names() -> None:
    ledger = two_partitions()
    rows = receive(ledger, 3)
    ledger.drop_duplicates(rows[:1])
    ledger.write_dead_letters([rejection(rows[1]), rejection(rows[2], Reason.TOO_OLD)])
    assert topic(ledger).duplicates == 1
    assert topic(ledger).dead_lettered == Counter({Reason.REFUSED: 1, Reason.TOO_OLD: 1})
    assert ledger.memory.held_bytes == 0
    assert ledger.offsets.tracker(FIRST).safe_position == 3
    assert ledger.imbalance() == 0


def test_rows_given_back_are_let_go_and_stay_unsettled() -> None:
    ledger = two_partitions()
    rows = receive(ledger, 2)
    ledger.give_back(rows[:1])
    assert ledger.memory.held_bytes == rows[1].size_bytes
    assert (ledger.left().unsettled, ledger.offsets.in_motion([FIRST])) == (2, 1)
    assert topic(ledger).given_back == 0
    ledger.remove([FIRST])
    ledger.remove([FIRST])
    assert topic(ledger).given_back == 2
    assert ledger.imbalance() == 0
    ledger.give_back(rows[1:])
    assert ledger.memory.held_bytes == 0


def test_what_ends_after_its_partition_is_gone_is_let_go_and_counted_nowhere() -> None:
    ledger = two_partitions()
    rows = receive(ledger, 4)
    ledger.remove([FIRST])
    ledger.assign([Start(make_assignment(0, epoch=2), 0, None)])
    ledger.deliver(shares_of(rows[:1]), now_at(1))
    ledger.drop_duplicates(rows[1:2])
    ledger.write_dead_letters([rejection(rows[2])])
    ledger.give_back(rows[3:])
    account = topic(ledger)
    assert (
        account.delivered,
        account.duplicates,
        account.dead_lettered.total(),
        account.given_back,
    ) == (0, 0, 0, 4)
    assert ledger.memory.held_bytes == 0
    assert positions(ledger) == {SECOND: 0, make_assignment(0, epoch=2): 0}
    assert ledger.imbalance() == 0


def test_a_record_that_the_account_cannot_explain_shows() -> None:
    ledger = two_partitions()
    (row,) = receive(ledger, 1)
    ledger.offsets.tracker(FIRST).settle([row.record.offset])
    assert ledger.imbalance() == 1
    ledger.counters.topics["idle"].delivered += 2
    assert ledger.imbalance() == 3, "the faults of two topics don't cancel out"


@examples(100)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_the_account_explains_every_record_at_every_step(seed: int, steps: int) -> None:
    chance = Random(seed)
    ledger = two_partitions()
    epochs = {0: FIRST, 1: SECOND}
    held: list[Row] = []

    def take() -> list[Row]:
        chance.shuffle(held)
        taken = held[: chance.randint(0, 3)]
        del held[: len(taken)]
        return taken

    def come() -> None:
        assignment = chance.choice(list(epochs.values()))
        position = ledger.offsets.tracker(assignment).position
        held.extend(receive(ledger, chance.randint(0, 4), start=position, assignment=assignment))

    def change_owner() -> None:
        partition = chance.randint(0, 1)
        old = epochs[partition]
        ledger.remove([old])
        epochs[partition] = make_assignment(partition, epoch=old.epoch + 1)
        ledger.assign([Start(epochs[partition], 0, None)])

    acts: list[Callable[[], None]] = [
        come,
        come,
        lambda: ledger.deliver(shares_of(take()), now_at(1)),
        lambda: ledger.drop_duplicates(take()),
        lambda: ledger.write_dead_letters([rejection(row) for row in take()]),
        lambda: ledger.give_back(take()),
        change_owner,
    ]
    for _ in range(steps):
        chance.choice(acts)()
        assert ledger.imbalance() == 0
        assert ledger.memory.held_bytes == sum(row.size_bytes for row in held)
        outstanding = ledger.left().unsettled
        account = topic(ledger)
        settled = (
            account.delivered
            + account.duplicates
            + account.dead_lettered.total()
            + account.given_back
        )
        assert account.consumed == settled + outstanding
        assert account.balance(outstanding) == 0

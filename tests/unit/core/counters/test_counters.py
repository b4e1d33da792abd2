"""The account and the nouns beside it."""

from __future__ import annotations

from tests.builders import make_assignment, make_batch, make_rows
from worker.core.counters.counters import Counters, TopicAccount
from worker.core.model.fault import Reason
from worker.core.model.record import TopicPartition


def test_a_topic_s_account_is_balanced_when_every_record_is_somewhere() -> None:
    topic = TopicAccount(consumed=10, delivered=3, duplicates=2, given_back=1)
    topic.dead_lettered[Reason.MISSING] += 1
    topic.dead_lettered[Reason.TOO_OLD] += 1
    assert topic.balance(outstanding=2) == 0
    assert topic.balance(outstanding=1) == 1
    assert topic.balance(outstanding=4) == -2


def test_requests_are_observed_by_outcome() -> None:
    account = Counters({})
    account.observe_request("delivered", 0.2)
    account.observe_request("delivered", 0.4)
    account.observe_request("held", 9.0)
    assert {
        name: histogram.cumulative()[-1] for name, histogram in account.request_seconds.items()
    } == {
        "delivered": 2,
        "held": 1,
    }


def test_two_accounts_share_nothing() -> None:
    one, other = Counters({}), Counters({})
    one.batch_rows.observe(1.0)
    one.batches["delivered"] += 1
    assert (other.batch_rows.cumulative()[-1], other.batches.total()) == (0, 0)


def test_a_partition_reads_as_operators_write_it() -> None:
    assignment = make_assignment(3, topic="orders", epoch=7)
    assert assignment.topic_partition == TopicPartition("orders", 3)
    assert str(assignment.topic_partition) == "orders-3"
    assert str(assignment) == "orders-3 (epoch 7)"


def test_a_batch_s_body_is_the_same_each_time_it_is_joined() -> None:
    batch = make_batch(make_rows(3))
    assert batch.body() == batch.body()
    assert batch.body().count(b"\n") == 4
    assert batch.body_bytes == len(batch.body())

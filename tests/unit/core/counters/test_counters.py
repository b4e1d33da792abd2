"""The account balances, histograms count, and differences from the contract are bounded."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_assignment, make_batch, make_rows
from tests.searches import examples
from worker.core.counters.counters import Counters, Histogram, RequestEnd, TopicCounters
from worker.core.model.answer import Ambiguous, Response, TransportFault
from worker.core.model.fault import Reason
from worker.core.model.record import TopicPartition


def test_a_topic_s_account_is_balanced_when_every_record_is_somewhere() -> None:
    topic = TopicCounters(consumed=10, delivered=3, deduplicated=Counter(key=2), given_back=1)
    topic.dead_lettered[Reason.MISSING] += 1
    topic.dead_lettered[Reason.TOO_OLD] += 1
    assert topic.balance(outstanding=2) == 0
    assert topic.balance(outstanding=1) == 1
    assert topic.balance(outstanding=4) == -2


def test_requests_are_observed_by_outcome() -> None:
    account = Counters({})
    account.observe_request(Response(200, None, "", 0.2), RequestEnd("delivered"), 5)
    account.observe_request(Response(200, None, "", 0.4), RequestEnd("delivered"), 5)
    account.observe_request(
        Ambiguous(TransportFault.TIMEOUT, 9.0),
        RequestEnd("retried", "timeout", is_ambiguous=True),
        7,
    )
    assert {
        name: histogram.cumulative()[-1] for name, histogram in account.request_seconds.items()
    } == {
        "delivered": 2,
        "retried": 1,
    }
    assert account.requests == {"200": 2, "timeout": 1}
    assert account.batches == {"delivered": 2, "retried": 1}
    assert (account.retries, account.ambiguous_rows) == ({"timeout": 1}, 7)


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


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (-1.0, 0),
        (0.0, 0),
        (1.0, 0),
        (1.0001, 1),
        (2.0, 1),
        (5.0, 2),
        (5.0001, 3),
        (float("inf"), 3),
    ],
)
def test_a_bound_belongs_to_the_bucket_below_it(value: float, bucket: int) -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    histogram.observe(value)
    assert histogram.counts == [int(index == bucket) for index in range(4)]
    assert histogram.sum == value


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (1.0, 1.0), (1.0, 3.0, 2.0)], ids=str)
def test_bounds_that_do_not_rise_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="bounds must rise"):
        Histogram(bounds)


def test_without_bounds_everything_is_counted_in_one_bucket() -> None:
    histogram = Histogram(())
    histogram.observe_all([1.0, 2.0])
    assert histogram.cumulative() == [2]


@examples(80)
@given(st.lists(st.integers(-10, 10).map(float), max_size=50))
def test_the_cumulative_counts_are_what_counting_by_hand_gives(values: list[float]) -> None:
    bounds = (-5.0, 0.0, 0.5, 5.0)
    together, single = Histogram(bounds), Histogram(bounds)
    together.observe_all(values)
    for value in values:
        single.observe(value)
    by_hand = [sum(value <= bound for value in values) for bound in bounds]
    assert together.cumulative() == single.cumulative() == [*by_hand, len(values)]
    assert together.sum == single.sum == sum(values)

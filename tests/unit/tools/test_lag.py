"""What lag means, and how it changes."""

from __future__ import annotations

import pytest

from worker.core.model.record import TopicPartition
from worker.tools.lag import PartitionLag, trend

PARTITION = TopicPartition("films", 0)


@pytest.mark.parametrize(
    ("begin", "end", "committed", "lag", "lost"),
    [(0, 10, 4, 6, 0), (2, 10, None, 8, 0), (5, 10, 3, 7, 2), (0, 10, 12, 0, 0)],
    ids=["behind", "nothing committed", "deleted unread", "committed above the end"],
)
def test_lag_is_what_is_not_committed(
    begin: int, end: int, committed: int | None, lag: int, lost: int
) -> None:
    one = PartitionLag(PARTITION, begin, end, committed, settled_above=0)
    assert (one.lag, one.lost) == (lag, lost)


def test_a_trend_estimates_when_the_lag_is_0() -> None:
    before = [PartitionLag(PARTITION, 0, 100, 0, 0)]
    change = trend(before, [PartitionLag(PARTITION, 0, 120, 60, 0)], 2.0)
    assert (change.committed_per_second, change.written_per_second, change.seconds_left) == (
        30.0,
        10.0,
        3.0,
    )
    assert trend(before, [PartitionLag(PARTITION, 0, 120, 10, 0)], 2.0).seconds_left is None


def test_a_first_commit_counts_from_the_beginning_of_the_partition() -> None:
    change = trend(
        [PartitionLag(PARTITION, 7, 10, None, 0)], [PartitionLag(PARTITION, 7, 10, 9, 0)], 1.0
    )
    assert change.committed_per_second == 2.0

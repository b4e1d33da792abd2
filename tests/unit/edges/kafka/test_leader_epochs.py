"""Where reading goes on, by what the leader says of the log and its epochs."""

from __future__ import annotations

import pytest
from aiokafka.structs import TopicPartition

from worker.edges.kafka.leader_epochs import HEADER, FetchedEpochs, LogState, Resumption, resume
from worker.edges.kafka.offset_lookup import LogBounds

PARTITION = TopicPartition("events", 0)


def batch(base: int, epoch: int, form: int = 2) -> bytes:
    """A batch's header and a body of 30 bytes."""
    return HEADER.pack(base, HEADER.size - 12 + 30, epoch, form) + bytes(30)


@pytest.mark.parametrize(
    ("position", "epoch", "bounds", "wanted"),
    [
        (20, 3, LogBounds(0, 30, 3, 30), Resumption(20, LogState.WHOLE)),
        (20, 3, LogBounds(0, 30, 5, 22), Resumption(20, LogState.WHOLE)),
        (20, 3, LogBounds(0, 30, 5, 20), Resumption(20, LogState.WHOLE)),
        (20, 3, LogBounds(0, 30, 5, 15), Resumption(15, LogState.TRUNCATED)),
        (20, 3, LogBounds(0, 17, 5, 15), Resumption(15, LogState.TRUNCATED)),
        (20, 3, LogBounds(16, 17, 5, 15), Resumption(16, LogState.TRUNCATED)),
        (20, None, LogBounds(0, 17, 5, None), Resumption(17, LogState.TRUNCATED)),
        (20, 3, LogBounds(0, 17, None, None), Resumption(17, LogState.TRUNCATED)),
        (20, 3, LogBounds(25, 40, 5, 38), Resumption(25, LogState.SHORTENED)),
        (20, None, LogBounds(25, 40, 5, None), Resumption(25, LogState.SHORTENED)),
        (20, 3, LogBounds(0, 5, 0, None), Resumption(0, LogState.REPLACED)),
        (20, 0, LogBounds(0, 5, 0, 5), Resumption(0, LogState.REPLACED)),
        (20, None, LogBounds(0, 30, None, None), Resumption(20, LogState.WHOLE)),
    ],
)
def test_where_reading_goes_on(
    position: int, epoch: int | None, bounds: LogBounds, wanted: Resumption
) -> None:
    assert resume(position, epoch, bounds) == wanted


def test_a_batch_of_a_later_epoch_than_what_was_taken_is_noticed() -> None:
    epochs = FetchedEpochs()
    epochs.note(PARTITION, batch(0, 3) + batch(10, 3) + batch(20, 4))
    epochs.take(PARTITION, 15)
    assert epochs.taken(PARTITION) == 3
    assert not epochs.is_later(PARTITION, 15)
    assert epochs.is_later(PARTITION, 20)
    epochs.trust(PARTITION, 4)
    assert not epochs.is_later(PARTITION, 20)


def test_what_is_fetched_again_counts_and_not_what_was_fetched_before() -> None:
    epochs = FetchedEpochs()
    epochs.note(PARTITION, batch(0, 3) + batch(10, 3) + batch(20, 3))
    epochs.take(PARTITION, 15)
    epochs.note(PARTITION, batch(12, 5) + batch(20, 5))
    assert epochs.is_later(PARTITION, 15)


def test_batches_without_an_epoch_and_batches_that_are_cut_short_say_nothing() -> None:
    epochs = FetchedEpochs()
    epochs.note(PARTITION, batch(0, 3, form=1) + batch(10, 4)[: HEADER.size - 1])
    epochs.take(PARTITION, 5)
    assert epochs.taken(PARTITION) is None and not epochs.is_later(PARTITION, 10)


@pytest.mark.parametrize("length", [-13, -12])
def test_a_batch_with_a_damaged_length_ends_the_look_at_batches(length: int) -> None:
    epochs = FetchedEpochs()
    epochs.note(PARTITION, batch(0, 3) + HEADER.pack(10, length, 4, 2) + bytes(30))
    epochs.take(PARTITION, 10)
    assert epochs.taken(PARTITION) == 3

"""Commits: within a time-out, for own partitions only, and a partition's fault is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiokafka import OffsetAndMetadata
from aiokafka.errors import CommitFailedError, OffsetMetadataTooLargeError
from aiokafka.structs import TopicPartition as ClientPartition

from tests.builders import make_assignment
from worker.core.model.event import CommitFailed, Committed
from worker.core.model.record import Assignment, Position
from worker.edges.kafka.commit import COMMIT_CHARACTERS_MAX, commit
from worker.edges.kafka.rebalance_listener import Rebalances

FIRST, SECOND = make_assignment(0), make_assignment(1)
POSITIONS = {FIRST: Position(5, "a"), SECOND: Position(7, "b")}
Offsets = dict[ClientPartition, OffsetAndMetadata]


class Consumer:
    """What a consumer answers to a commit. Only that matters here."""

    def __init__(self, answer: Callable[[Offsets], None], *, hangs_with: int = 0) -> None:
        self._answer = answer
        self._hangs_with = hangs_with
        self.commits: list[set[int]] = []

    async def commit(self, offsets: Offsets) -> None:
        self.commits.append({partition.partition for partition in offsets})
        if len(offsets) == self._hangs_with:
            await asyncio.Event().wait()
        self._answer(offsets)


def takes_all(_: Offsets) -> None:
    return


def refuses_the_second(offsets: Offsets) -> None:
    if any(partition.partition == 1 for partition in offsets):
        raise CommitFailedError("not yours")


def ours(*assignments: Assignment) -> Rebalances:
    rebalances = Rebalances(1.0, 1.0, lambda event: None, lambda: None)
    rebalances.begin(assignments)
    return rebalances


async def committed(
    consumer: Consumer | None, rebalances: Rebalances, timeout: float = 5.0
) -> Committed | CommitFailed:
    return await commit(consumer, rebalances, POSITIONS, timeout)  # type: ignore[arg-type]


async def test_all_are_committed_at_once() -> None:
    consumer = Consumer(takes_all)
    assert isinstance(await committed(consumer, ours(FIRST, SECOND)), Committed)
    assert consumer.commits == [{0, 1}]


async def test_what_is_refused_together_is_tried_one_by_one_and_the_fault_is_reported() -> None:
    consumer = Consumer(refuses_the_second)
    failed = await committed(consumer, ours(FIRST, SECOND))
    assert consumer.commits == [{0, 1}, {0}, {1}]
    assert isinstance(failed, CommitFailed)
    assert failed.detail.startswith("CommitFailedError: ")


async def test_what_gets_no_answer_is_tried_one_by_one_within_the_same_time() -> None:
    consumer = Consumer(takes_all, hangs_with=2)
    result = await committed(consumer, ours(FIRST, SECOND), timeout=0.2)
    assert consumer.commits == [{0, 1}, {0}, {1}]
    assert isinstance(result, Committed)
    assert result.duration_seconds >= 0.1, "half of the time is for all at once"


async def test_nothing_is_sent_for_what_is_not_ours_any_more() -> None:
    consumer = Consumer(takes_all)
    failed = await committed(consumer, ours(FIRST))
    assert consumer.commits == [{0}]
    assert isinstance(failed, CommitFailed)
    assert failed.detail == "partitions were revoked"


async def test_the_fence_holds_between_two_attempts() -> None:
    rebalances = ours(FIRST, SECOND)

    def takes_away(offsets: Offsets) -> None:
        rebalances.end([SECOND])
        raise CommitFailedError("rebalancing")

    consumer = Consumer(takes_away)
    assert isinstance(await committed(consumer, rebalances), CommitFailed)
    assert consumer.commits == [{0, 1}, {0}], "the second one was taken away meanwhile"


async def test_without_a_consumer_nothing_is_committed() -> None:
    failed = await committed(None, ours(FIRST, SECOND))
    assert isinstance(failed, CommitFailed)
    assert failed.detail == "not connected"


async def test_a_commit_refused_for_its_size_is_named_and_hinders_no_other() -> None:
    def refuses_the_longer_one(offsets: Offsets) -> None:
        if any(len(one.metadata) > 1 for one in offsets.values()):
            raise OffsetMetadataTooLargeError

    consumer = Consumer(refuses_the_longer_one)
    positions = {FIRST: Position(5, "a"), SECOND: Position(7, "bb")}
    failed = await commit(consumer, ours(FIRST, SECOND), positions, 5.0)  # type: ignore[arg-type]
    assert consumer.commits == [{0, 1}, {0}, {1}]
    assert isinstance(failed, CommitFailed)
    assert failed.too_large == (Position(7, "bb"),)


async def test_a_refusal_for_size_is_not_forgotten_when_something_else_comes_between() -> None:
    def rebalances_after_the_first(offsets: Offsets) -> None:
        raise OffsetMetadataTooLargeError if len(offsets) == 2 else CommitFailedError("rebalancing")

    positions = {FIRST: Position(5, "bb"), SECOND: Position(7, "a")}
    failed = await commit(Consumer(rebalances_after_the_first), ours(FIRST, SECOND), positions, 5.0)  # type: ignore[arg-type]
    assert isinstance(failed, CommitFailed)
    assert failed.too_large == (Position(5, "bb"),)


async def test_a_commit_of_many_partitions_is_cut_into_what_a_broker_takes_at_once() -> None:
    assignments = [make_assignment(number) for number in range(600)]
    consumer = Consumer(takes_all)
    positions = dict.fromkeys(assignments, Position(5, "x" * 4096))
    assert isinstance(await commit(consumer, ours(*assignments), positions, 5.0), Committed)  # type: ignore[arg-type]
    assert sum(len(piece) for piece in consumer.commits) == 600
    assert max(len(piece) for piece in consumer.commits) * 4096 <= COMMIT_CHARACTERS_MAX
    assert len(consumer.commits) == 10

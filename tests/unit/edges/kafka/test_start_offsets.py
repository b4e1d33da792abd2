"""Where a partition starts when the coordinator gives half an answer, on a model."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from aiokafka.errors import CoordinatorNotAvailableError, UnknownTopicOrPartitionError
from aiokafka.protocol.offset import OffsetResetStrategy
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as ClientPartition

from verification.simulation.virtual_loop import run
from worker.core.model.record import Position, TopicPartition
from worker.edges.kafka.aiokafka_internals.requests import OffsetsRequestStruct, OffsetsResponse
from worker.edges.kafka.coordinator import NOTHING_COMMITTED
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.start_offsets import Arrivals, LookedUp, StartOffset, StartOffsets

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


class Brokers:
    """What the brokers say.

    A stand-in for connection, consumer and admin client at once: only their answers matter here.
    """

    def __init__(
        self,
        committed: dict[int, OffsetAndMetadata],
        partitions: Collection[int] | None = frozenset({0, 1}),
    ) -> None:
        self._committed = {
            ClientPartition("t", number): offset for number, offset in committed.items()
        }
        self._partitions = partitions
        # What is closed with a consumer.
        self._client, self._coordinator, self._fetcher = self, None, None
        self.cluster = self

    def admin(self) -> Brokers:
        return self

    def client(self) -> Brokers:
        return self

    def consumer(self, **options: Any) -> Brokers:
        return self

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def close(self) -> None: ...

    async def list_consumer_group_offsets(
        self, group_id: str, partitions: list[ClientPartition]
    ) -> dict[ClientPartition, OffsetAndMetadata]:
        return self._committed

    async def bootstrap(self) -> None: ...

    async def force_metadata_update(self) -> bool:
        return True

    def leader_for_partition(self, partition: ClientPartition) -> int:
        return 0

    async def send(self, node_id: int, request: Any) -> OffsetsResponse:
        """Every partition reaches from 5 to 50, in epoch 3."""
        at = {OffsetResetStrategy.EARLIEST: 5, OffsetResetStrategy.LATEST: 50}
        asked = request.build(OffsetsRequestStruct).topics
        topics = [
            (topic, [(one, 0, -1, at[which], 3) for one, _, which in its]) for topic, its in asked
        ]
        return OffsetsResponse(0, topics)

    async def describe_topics(self) -> list[dict[str, Any]]:
        partitions = [{"partition": number} for number in self._partitions or ()]
        return (
            [{"topic": "t", "error_code": 0, "partitions": partitions}]
            if self._partitions is not None
            else []
        )


def starts(brokers: Brokers, *, at_latest: bool = False) -> StartOffsets:
    return StartOffsets(brokers, "group", starts_at_latest=at_latest)  # type: ignore[arg-type]


NOTHING = OffsetAndMetadata(NOTHING_COMMITTED, "")


def test_a_partition_missing_in_the_answer_is_not_one_without_a_commit() -> None:
    answer = Brokers({0: OffsetAndMetadata(7, "")})
    # On virtual time: the coordinator is asked again for some seconds.
    with pytest.raises(CoordinatorNotAvailableError, match="did not return"):
        run(starts(answer).find([ZERO, ONE]), seconds_max=60)


async def test_a_committed_position_is_taken_with_its_metadata_and_others_begin_early() -> None:
    found = await starts(Brokers({0: OffsetAndMetadata(7, "hints"), 1: NOTHING})).find([ZERO, ONE])
    assert found.found == {
        ZERO: StartOffset(7, Position(7, "hints"), 50, 3),
        ONE: StartOffset(5, None, 50, 3),
    }


async def test_the_very_first_start_may_begin_at_the_end_and_no_later_one() -> None:
    assert (await starts(Brokers({0: NOTHING, 1: NOTHING}), at_latest=True).find([ZERO])).found[
        ZERO
    ].position == 50
    added = Brokers({0: OffsetAndMetadata(7, ""), 1: NOTHING})
    assert (await starts(added, at_latest=True).find([ONE])).found[ONE].position == 5


async def test_a_topic_whose_partitions_are_not_known_is_no_first_start() -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        await starts(Brokers({0: NOTHING}, partitions=None), at_latest=True).find([ZERO])


class SlowToClose(StartOffsets):
    """A look-up that takes some turns of the loop to close its connections."""

    def __init__(self) -> None:
        self.closed = 0

    async def find(self, partitions: Collection[TopicPartition]) -> LookedUp:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            self.closed += 1
        raise AssertionError("a look-up that waits without an end")


async def test_a_look_up_that_is_out_of_date_closes_its_connections() -> None:
    async def rebuild(_: object) -> None:
        raise AssertionError("nothing is found")

    rebalances = Rebalances(1.0, 1.0, lambda _: None, lambda: None)
    starts = SlowToClose()
    arrivals = Arrivals(rebalances, starts, rebuild, lambda: None)
    for partitions in ([ZERO], [ZERO, ONE]):
        await rebalances.on_partitions_assigned([ClientPartition(*one) for one in partitions])
        for _ in range(10):
            assert arrivals.advance() == {}
            await asyncio.sleep(0)
    assert starts.closed == 1
    await arrivals.close()
    assert starts.closed == 2

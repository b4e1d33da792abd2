"""How partitions take turns when some can't be read, are silent, or are many, on virtual time."""

from __future__ import annotations

import asyncio

from aiokafka.structs import TopicPartition

from tests.simulation.kafka_model import ModelKafka
from tests.simulation.test_arrivals import TOPIC, play, running
from worker.edges.poller import PollOptions
from worker.model.event import OffsetsSkipped, Received

FIRST = TopicPartition(TOPIC, 0)
SKIPPING = PollOptions(100, skips_corrupt=True, stall_seconds=60)


def test_the_position_behind_what_is_skipped_at_the_end_of_a_partition_is_told() -> None:
    async def history(kafka: ModelKafka) -> None:
        for _ in range(5):
            kafka.append(TOPIC, 0, b"k", b"{}")
        kafka.damage(FIRST, 3)
        kafka.damage(FIRST, 4)
        async with running(kafka, poll=SKIPPING) as reader:
            position = 0
            async with asyncio.timeout(60):
                while position < 5:
                    position = (await reader.until(Received)).next_offset
        assert sum(event.count for event in reader.seen if isinstance(event, OffsetsSkipped)) == 2

    play(history, partitions=1)

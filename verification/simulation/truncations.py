"""Logs that lose their settled end: drawn from a history's seed, and written anew from there."""

from __future__ import annotations

import asyncio
from random import Random

from aiokafka.structs import TopicPartition

from verification.simulation.kafka_model import ModelKafka
from verification.simulation.producers import Producers
from verification.simulation.scenario import Scenario
from verification.simulation.truth import TOPIC, Truth

# By then every session of a killed worker is over: no partition changes its worker any more.
STABLE_SECONDS = 15.0
LOST_MAX, WRITTEN_MAX = 30, 200


async def truncate(
    kafka: ModelKafka, scenario: Scenario, truth: Truth, producers: Producers
) -> bool:
    """Let some partitions lose their last, settled records, and write others in their place.

    Returns True if any did.
    """
    chance = Random(scenario.seed + 5)
    if chance.random() < 0.6:
        return False
    await asyncio.sleep(STABLE_SECONDS)
    for number in chance.sample(range(scenario.partitions), chance.randint(1, scenario.partitions)):
        partition = TopicPartition(TOPIC, number)
        end = max(0, kafka.end(partition) - chance.randint(0, LOST_MAX))
        kafka.elect_uncleanly(partition, end)
        truth.forget(partition, end)
    # Few enough for an API that takes seconds for a row.
    for _ in range(min(chance.randint(1, WRITTEN_MAX), scenario.records // 2)):
        producers.publish_valid()
    return True

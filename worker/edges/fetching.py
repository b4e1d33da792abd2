"""What a consumer's fetcher does differently from aiokafka's own, by its private parts, as there is no public way.

While a partition has no leader the fetcher asks for the cluster's metadata again as soon as the last answer is there: with
nothing else to fetch that is as often as the brokers can answer, and keeps a core of theirs and of ours busy for as long as the
partition is away. Here it asks twice a second.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer

LEADER_SECONDS = 0.5


def pace_look_ups_of_leaders(consumer: AIOKafkaConsumer) -> None:
    """Let this consumer, which has started, look for missing leaders at most every `LEADER_SECONDS`."""
    fetcher: Any = consumer._fetcher
    clock = asyncio.get_running_loop().time
    actions = fetcher._get_actions_per_node
    ask_at = 0.0

    def paced(assignment: Any) -> tuple[Any, ...]:
        nonlocal ask_at
        fetches, resets, timeout, lacks_leader, resumed = actions(assignment)
        if lacks_leader:
            lacks_leader = clock() >= ask_at
            if lacks_leader:
                ask_at = clock() + LEADER_SECONDS
        return fetches, resets, timeout, lacks_leader, resumed

    fetcher._get_actions_per_node = paced

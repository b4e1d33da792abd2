"""What a consumer of this worker's does differently from aiokafka's own, by its private parts, as
there is no public way.

- While a partition has no leader the fetcher asks for the cluster's metadata again as soon as the
  last answer is there: with nothing else to fetch that is as often as brokers can answer, and keeps
  a core of theirs and of ours busy for as long as the partition is away. Here it asks twice a
  second.
- Nothing says whether the group's coordinator still answers. A member without partitions fetches
  nothing and commits nothing, so only its heartbeats show it: here their answers are heard.
- Nothing shows the leader epochs of what is fetched: here the batches of each answer are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import NoError, RebalanceInProgressError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.structs import TopicPartition

LEADER_SECONDS = 0.5
# What a coordinator says to a member. In a rebalance it is one still.
AS_A_MEMBER = (NoError.errno, RebalanceInProgressError.errno)


def pace_look_ups_of_leaders(consumer: AIOKafkaConsumer) -> None:
    """Let this consumer, which has started, look for missing leaders at most every
    `LEADER_SECONDS`.
    """
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


def note_coordinator_answers(consumer: AIOKafkaConsumer, heard: Callable[[], None]) -> None:
    """Call this whenever the coordinator answers this consumer, which has not started, as a member
    of its group.
    """
    client: Any = consumer._client
    send = client.send

    async def noted_send(node_id: Any, request: Any, **options: Any) -> Any:
        answer = await send(node_id, request, **options)
        if (
            isinstance(request, HeartbeatRequest | SyncGroupRequest)
            and answer.error_code in AS_A_MEMBER
        ):
            heard()
        return answer

    client.send = noted_send


def show_batches(consumer: AIOKafkaConsumer, show: Callable[[TopicPartition, bytes], None]) -> None:
    """Show the batches of each answer to a fetch from now on, before they are taken out."""
    client: Any = consumer._client
    send = client.send

    async def shown_send(node_id: Any, request: Any, **options: Any) -> Any:
        answer = await send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for topic, partitions in answer.topics:
                for number, error_code, *_, batches in partitions:
                    if batches and error_code == NoError.errno:
                        show(TopicPartition(topic, number), batches)
        return answer

    client.send = shown_send

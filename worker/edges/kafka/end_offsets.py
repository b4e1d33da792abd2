"""Where partitions end, asked of the brokers in a rhythm of its own.

A consumer knows a partition's end from what it fetches, and of a paused partition it fetches
nothing: the lag would stand still in an outage, when everybody looks at it. So the leaders are
asked, as the tool `lag` asks them, over connections that carry nothing else: what hangs here holds
up no records, and a dead connection is given up with its time-out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import End, TopicPartition
from worker.edges.kafka.client import KafkaConnection
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# Between two looks; while they fail, more and more.
LOOK_SECONDS = 5.0
WAIT_SECONDS_MAX = 30.0
# For one look at all leaders: two requests of each, one after the other, and the way there.
LOOK_SECONDS_MAX = 20.0
CLOSE_SECONDS_MAX = 1.0
NO_REPLICA = NO_LEADER = -1
READ_UNCOMMITTED, READ_COMMITTED = 0, 1


class Ends:
    """The ends of the partitions that are ours, as far as they are known.

    Args:
        connection: the brokers.
        partitions: which they are now.
    """

    def __init__(
        self, connection: KafkaConnection, partitions: Callable[[], Collection[TopicPartition]]
    ) -> None:
        self._connection = connection
        self._partitions = partitions
        self._client: AIOKafkaClient | None = None
        self._known: dict[TopicPartition, End] = {}

    @property
    def known(self) -> Mapping[TopicPartition, End]:
        """The last end that was told of each partition; none of one that couldn't be
        asked for yet.
        """
        return self._known

    async def run(self) -> None:
        """Ask again and again, until cancelled.

        While brokers can't be asked, what they said last stays.
        """
        wait_seconds = LOOK_SECONDS
        try:
            while True:
                problem = await self._look(self._partitions())
                wait_seconds = (
                    LOOK_SECONDS if problem is None else min(wait_seconds * 2, WAIT_SECONDS_MAX)
                )
                if problem is not None:
                    logger.warning(
                        "ends_not_known", extra={"detail": problem, "retry_seconds": wait_seconds}
                    )
                    # The next look is over new connections.
                    await self._close()
                await asyncio.sleep(wait_seconds)
        finally:
            await self._close()

    async def _look(self, partitions: Collection[TopicPartition]) -> str | None:
        """Ask once; returns what went wrong, None for nothing."""
        self._known = {
            partition: end for partition, end in self._known.items() if partition in partitions
        }
        if not partitions:
            return None
        try:
            async with asyncio.timeout(LOOK_SECONDS_MAX):
                return await self._ask(
                    await self._connected({partition.topic for partition in partitions}), partitions
                )
        except (KafkaError, OSError) as error:  # a time-out is an OSError
            return f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return "aiokafka cancelled the request"

    async def _connected(self, topics: set[str]) -> AIOKafkaClient:
        client = self._client
        if client is None:
            client = self._client = self._connection.client()
            await client.bootstrap()
        if not await client.set_topics(topics):
            raise NodeNotReadyError("no broker names the leaders of the partitions")
        return client

    async def _ask(
        self, client: AIOKafkaClient, partitions: Collection[TopicPartition]
    ) -> str | None:
        """Ask each leader for its partitions, each on its own; returns what went wrong, None for
        nothing.
        """
        by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        for partition in partitions:
            leader = client.cluster.leader_for_partition(ClientPartition(*partition))
            by_leader[leader if leader is not None else NO_LEADER].append(partition)
        leaderless = by_leader.pop(NO_LEADER, [])
        partition_errors = [f"{len(leaderless)} partitions have no leader"] if leaderless else []
        for problem in await asyncio.gather(
            *(self._ask_leader(client, *one) for one in by_leader.items())
        ):
            partition_errors += [problem] if problem is not None else []
        return "; ".join(partition_errors) or None

    async def _ask_leader(
        self, client: AIOKafkaClient, leader: int, partitions: list[TopicPartition]
    ) -> str | None:
        # In milliseconds, as fetches are dated.
        at = int(time.time() * 1000) / 1000
        try:
            # In this order, so that no end lies before what was stable.
            stable = await _latest(client, leader, partitions, READ_COMMITTED)
            written = await _latest(client, leader, partitions, READ_UNCOMMITTED)
        except (KafkaError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        for partition in stable.keys() & written.keys():
            self._known[partition] = End(stable[partition], written[partition], at)
        unanswered = len(partitions) - len(written)
        return (
            f"{unanswered} partitions were not in the answer of broker {leader}"
            if unanswered
            else None
        )

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await client.close()


def fetched_end(consumer: AIOKafkaConsumer, partition: ClientPartition) -> End | None:
    """The end of an assigned partition as its last fetch has told it; None before there was a
    fetch.
    """
    stable, written = consumer.last_stable_offset(partition), consumer.highwater(partition)
    milliseconds = consumer.last_poll_timestamp(partition)
    if stable is None or written is None or milliseconds is None:
        return None
    return End(stable, written, milliseconds / 1000)


async def _latest(
    client: AIOKafkaClient, leader: int, partitions: list[TopicPartition], isolation: int
) -> dict[TopicPartition, int]:
    """The end of each of these partitions as a consumer of this isolation sees it; what the broker
    refuses is left out.

    Raises:
        KafkaError: it can't be asked.
    """
    wanted: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for partition in partitions:
        wanted[partition.topic].append((partition.partition, OffsetResetStrategy.LATEST))
    answer = await client.send(leader, OffsetRequest(NO_REPLICA, isolation, list(wanted.items())))
    ends = {}
    for topic, parts in answer.topics:
        for number, error_code, *_, offset in parts:
            if error_code == 0:
                ends[TopicPartition(topic, number)] = offset
    return ends

"""The ends of partitions: by the last fetch, and as the brokers say when they are asked.

A consumer knows a partition's end from its fetches, and fetches nothing of a paused partition: the
lag would not move in an outage, when everybody looks at it. So the leaders are asked too, at an
interval of its own and over connections that carry nothing else: a request that hangs holds up no
records, and a dead connection is given up with its time-out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.protocol.offset import OffsetResetStrategy
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import End, TopicPartition
from worker.edges.kafka.aiokafka_internals.requests import (
    READ_COMMITTED,
    READ_UNCOMMITTED,
    OffsetsRequest,
)
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.offset_lookup import NO_LEADER, by_leader, offsets
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# Between two look-ups; while they fail, the wait grows.
LOOK_SECONDS = 5.0
WAIT_SECONDS_MAX = 30.0
# For one look-up: two requests to each leader, one after the other, and the connections.
LOOK_SECONDS_MAX = 20.0
CLOSE_SECONDS_MAX = 1.0


class Ends:
    """The ends of our partitions, as far as they are known from asking.

    Args:
        connection: the brokers.
        partitions: our partitions now.
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
        """The last known end of each partition; a partition without an answer yet is left out."""
        return self._known

    async def run(self) -> None:
        """Ask again and again, until cancelled.

        While brokers can't be asked, their last answers stay.
        """
        wait_seconds = LOOK_SECONDS
        try:
            while True:
                problem = await self._look(self._partitions())
                if problem is None:
                    wait_seconds = LOOK_SECONDS
                else:
                    wait_seconds = min(wait_seconds * 2, WAIT_SECONDS_MAX)
                    fields = {"detail": problem, "retry_seconds": wait_seconds}
                    logger.warning("ends_not_known", extra=fields)
                    # The next look-up uses new connections.
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
                client = await self._connected({partition.topic for partition in partitions})
                return await self._ask(client, partitions)
        except (KafkaError, OSError) as error:  # a time-out is an OSError
            return text_of(error)
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
        """Ask each leader for its partitions; returns what went wrong, None for nothing."""
        groups = by_leader(client, partitions)
        leaderless = [*groups.pop(None, ()), *groups.pop(NO_LEADER, ())]
        problems = [f"{len(leaderless)} partitions have no leader"] if leaderless else []
        answers = await asyncio.gather(
            *(
                self._ask_leader(client, leader, its)
                for leader, its in groups.items()
                if leader is not None
            )
        )
        problems += [problem for problem in answers if problem is not None]
        return "; ".join(problems) or None

    async def _ask_leader(
        self, client: AIOKafkaClient, leader: int, partitions: list[TopicPartition]
    ) -> str | None:
        # In milliseconds, as fetches are dated.
        at = int(time.time() * 1000) / 1000
        latest = OffsetResetStrategy.LATEST
        try:
            # In this order, so that no end lies before the stable end.
            stable = await offsets(
                client, leader, OffsetsRequest(partitions, latest, READ_COMMITTED)
            )
            written = await offsets(
                client, leader, OffsetsRequest(partitions, latest, READ_UNCOMMITTED)
            )
        except (KafkaError, OSError, NotImplementedError) as error:
            return text_of(error)
        unanswered = 0
        for partition in partitions:
            match stable.get(partition), written.get(partition):
                case (stable_end, _), (written_end, _):
                    self._known[partition] = End(stable_end, written_end, at)
                case _:
                    unanswered += 1
        if not unanswered:
            return None
        return f"{unanswered} partitions were not in the answer of broker {leader}"

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await client.close()


def latest(ends: Iterable[End], unix_seconds: float) -> End | None:
    """Return the end that was read last.

    An end with a date ahead of this time was read before the clock was set back.
    """
    return max(
        ends, key=lambda end: (end.unix_seconds <= unix_seconds, end.unix_seconds), default=None
    )


def fetched_end(consumer: AIOKafkaConsumer, partition: ClientPartition) -> End | None:
    """Return the end of an assigned partition by its last fetch; None before there was a fetch."""
    stable, written = consumer.last_stable_offset(partition), consumer.highwater(partition)
    milliseconds = consumer.last_poll_timestamp(partition)
    if stable is None or written is None or milliseconds is None:
        return None
    return End(stable, written, milliseconds / 1000)

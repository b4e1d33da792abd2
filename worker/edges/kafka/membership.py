"""Whether this process is a member of its group, and why not: how it joins, and when the
coordinator last answered it.

A member is one whose coordinator has answered within its session: after that the group goes on
without it, whatever it believes itself. So a worker without partitions knows it too, which fetches
nothing and commits nothing.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import InconsistentGroupProtocolError, KafkaError

from worker.core.model.record import TopicPartition
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.consumer import SourceOptions, new_consumer, start, stop
from worker.edges.kafka.diagnosis import explain
from worker.edges.kafka.group_description import describe_members
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.topics import Topics
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

WAIT_SECONDS_FIRST = 1.0
WAIT_SECONDS_MAX = 30.0
# How often the silence is looked at; a silent coordinator is then asked over new connections.
ASK_SECONDS = 5.0
# A coordinator that has just come back answers the consumer a moment later: one answer to another
# client proves nothing.
ANSWERS_MIN = 2
# One request to find out who else is in the group, or what the coordinator says to another client.
DESCRIBE_SECONDS_MAX = 5.0


class Membership:
    """Joins the group, with one consumer after the other.

    Args:
        connection: the brokers.
        options: how to consume.
        topics: which topics are there.
    """

    def __init__(self, connection: KafkaConnection, options: SourceOptions, topics: Topics) -> None:
        self._connection = connection
        self._options = options
        self._topics = topics
        self._refusal: str | None = None
        self._answered_at: float | None = None
        self._joined_at = 0.0
        self.latest: AIOKafkaConsumer | None = None

    def unready_reason(self) -> str | None:
        """Why this process isn't a member of its group; None while it is."""
        silent_seconds = _now() - self._answered_at if self._answered_at is not None else None
        if silent_seconds is not None and silent_seconds <= self._options.session_timeout_seconds:
            return None
        if self._refusal is not None:
            return self._refusal
        if silent_seconds is None:
            return "it has not joined its group yet"
        return f"the group's coordinator has not answered for {silent_seconds:.0f} s"

    async def join(self, rebalances: Rebalances) -> AIOKafkaConsumer:
        """A consumer that has joined.

        Waits for brokers that aren't there yet, and for a group that doesn't let us in.
        """
        wait_seconds = WAIT_SECONDS_FIRST
        while True:
            joined = await self._attempt(rebalances)
            if isinstance(joined, AIOKafkaConsumer):
                self._refusal = None
                self._joined_at = _now()
                return joined
            event, self._refusal = joined
            fields = {
                "group_id": self._options.group_id,
                "detail": self._refusal,
                "retry_seconds": wait_seconds,
            }
            logger.warning(event, extra=fields)
            await self.close()
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, WAIT_SECONDS_MAX)

    async def watch(self) -> str:
        """Wait until the consumer that joined last doesn't find its coordinator any more; returns
        what shows it.

        Where all brokers have moved to other addresses, a consumer without partitions, which
        fetches nothing, goes on asking the old ones for ever. A coordinator that answers nobody is
        no fault of the consumer.
        """
        # A member that joins hears nothing while the group waits for others.
        patience = self._options.rebalance_seconds_max
        answers_to_others = 0
        while answers_to_others < ANSWERS_MIN:
            await asyncio.sleep(ASK_SECONDS)
            is_silent = self._silent_seconds() > patience
            answers_to_others = (
                answers_to_others + 1 if is_silent and await self._answers_others() else 0
            )
            # It may have answered meanwhile.
            answers_to_others = answers_to_others if self._silent_seconds() > patience else 0
        return (
            f"the group's coordinator has not answered for {self._silent_seconds():.0f} s, "
            "and answers others"
        )

    def _silent_seconds(self) -> float:
        return _now() - max(self._joined_at, self._answered_at or 0.0)

    async def close(self) -> None:
        """Leave the group and close the connections, also those of a consumer that was only about
        to join.
        """
        latest, self.latest = self.latest, None
        if latest is not None:
            await stop(latest)

    async def _attempt(self, rebalances: Rebalances) -> AIOKafkaConsumer | tuple[str, str]:
        """A consumer that has joined; or why none has, with the event to be logged."""
        try:
            # Made within: it reads the files of TLS, which may be of no use at this moment.
            consumer = self.latest = new_consumer(self._connection, self._options)
            await self._topics.look()
            if not self._topics.present:
                return "kafka_not_reached", "none of the topics exists"
            consumer.subscribe(topics=self._topics.present, listener=rebalances)
            # aiokafka waits for ever where brokers that it knows are gone for good: a new consumer
            # asks for them anew.
            async with asyncio.timeout(self._options.rebalance_seconds_max):
                await start(consumer, self._hear)
        except InconsistentGroupProtocolError:
            return "group_held_by_another_program", await self._foreigners()
        except (KafkaError, OSError) as error:
            return "kafka_not_reached", await explain(self._connection, error)
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return "kafka_not_reached", "aiokafka cancelled the request"
        return consumer

    async def _foreigners(self) -> str:
        group_id = self._options.group_id
        members = await describe_members(self._connection.capped(DESCRIBE_SECONDS_MAX), group_id)
        return (
            f"another program holds the group {group_id} and shares no assignor with the worker: "
            f"{members}; "
            "stop it, or use another group for the worker (kafka.group_id)"
        )

    async def _answers_others(self) -> bool:
        """True if the group's coordinator answers over new connections."""
        try:
            async with TopicReader(self._connection.capped(DESCRIBE_SECONDS_MAX)) as reader:
                # Any partition: what counts is that there is an answer.
                await reader.committed(
                    self._options.group_id, {TopicPartition(self._options.topics[0], 0)}
                )
        except (KafkaError, OSError):
            return False
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return False
        return True

    def _hear(self) -> None:
        self._answered_at = _now()


def _now() -> float:
    return asyncio.get_running_loop().time()

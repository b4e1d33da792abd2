"""Membership of the consumer group: a consumer is created, joins and leaves.

A consumer is a member while its coordinator has answered within its session. After that the group
continues without the consumer, even if the consumer has not noticed. A worker without partitions
fetches and commits nothing, and notices a lost membership only in this way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import InconsistentGroupProtocolError, KafkaError

from worker.core.model.record import TopicPartition
from worker.edges.kafka.aiokafka_internals.closing import close_consumer
from worker.edges.kafka.aiokafka_internals.consumer import (
    hand_on_records,
    note_coordinator_answers,
    pace_look_ups_of_leaders,
)
from worker.edges.kafka.aiokafka_internals.decompression import bound_decompression
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.coordinator import describe_members
from worker.edges.kafka.diagnosis import explain
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.rebalance_listener import Rebalances
from worker.edges.kafka.receiver import PollOptions
from worker.edges.kafka.topics import LOOK_SECONDS, Topics
from worker.edges.kafka.window_rebuild import TailOptions
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# The name of the only assignor, which the members of the group must share.
ASSIGNOR = RoundRobinPartitionAssignor.name
# aiokafka leaves the group if it isn't polled for max_poll_interval. The worker doesn't poll while
# every partition is paused.
POLL_INTERVAL_MILLISECONDS = 2**31 - 1
# The longest wait until a new partition is noticed; aiokafka's own 5 minutes are an outage.
METADATA_SECONDS = 60.0
STOP_SECONDS_MAX = 5.0
BATCH_BYTES_MAX = 64 * 1024 * 1024
WAIT_SECONDS_FIRST = 1.0
WAIT_SECONDS_MAX = 30.0
# How often the coordinator's silence is measured; a silent coordinator is then asked over new
# connections.
ASK_SECONDS = 5.0
# A coordinator that has just come back answers the consumer a moment later: a single answer to
# another client proves nothing.
ANSWERS_MIN = 2
# One request to find out who else is in the group, or whether the coordinator answers others.
DESCRIBE_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to consume. Sizes in bytes before decompression.

    Attributes:
        optional_topics: may be missing; they are read once they exist.
        naming: for each topic, the topics whose records name its own: see `WindowRebuild`.
        batch_bytes_max: the most that a record batch may expand to: see `bound_decompression`.
        look_seconds: how often missing topics are looked for.
        metadata_seconds: how often new partitions are looked for.
    """

    topics: tuple[str, ...]
    optional_topics: frozenset[str]
    group_id: str
    session_timeout_seconds: float
    heartbeat_interval_seconds: float
    rebalance_timeout_seconds: float
    drain_on_revoke_seconds: float
    commit_timeout_seconds: float
    partition_fetch_bytes_max: int
    fetch_bytes_max: int
    starts_at_latest: bool
    poll: PollOptions
    tail: TailOptions
    naming: Mapping[str, frozenset[str]]
    batch_bytes_max: int = BATCH_BYTES_MAX
    look_seconds: float = LOOK_SECONDS
    metadata_seconds: float = METADATA_SECONDS

    @property
    def rebalance_seconds_max(self) -> float:
        """The longest time of a rebalance while its coordinator can be reached.

        By then the sessions of dead members have ended, and slow members are left out.
        """
        return self.session_timeout_seconds + self.rebalance_timeout_seconds


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
        """Return why this process isn't a member of its group; None while it is."""
        silent_seconds = _now() - self._answered_at if self._answered_at is not None else None
        if silent_seconds is not None and silent_seconds <= self._options.session_timeout_seconds:
            return None
        if self._refusal is not None:
            return self._refusal
        if silent_seconds is None:
            return "it has not joined its group yet"
        return f"the group's coordinator has not answered for {silent_seconds:.0f} s"

    async def join(self, rebalances: Rebalances) -> AIOKafkaConsumer:
        """Join with a new consumer; returns it.

        Waits for brokers that aren't reachable yet, and for a group that another program holds.
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
        """Wait until the last consumer has lost its coordinator; returns what shows it.

        If all brokers have moved to other addresses, a consumer without partitions asks the old
        addresses for ever, because it fetches nothing. A coordinator that doesn't answer other
        clients either is no fault of the consumer.
        """
        # A member that joins gets no answer while the group waits for others.
        silent_seconds_max = self._options.rebalance_seconds_max
        answers_to_others = 0
        while answers_to_others < ANSWERS_MIN:
            await asyncio.sleep(ASK_SECONDS)
            is_silent = self._silent_seconds() > silent_seconds_max and await self._answers_others()
            # The consumer may have been answered meanwhile.
            if is_silent and self._silent_seconds() > silent_seconds_max:
                answers_to_others += 1
            else:
                answers_to_others = 0
        return (
            f"the group's coordinator has not answered for {self._silent_seconds():.0f} s, "
            "and answers others"
        )

    def _silent_seconds(self) -> float:
        return _now() - max(self._joined_at, self._answered_at or 0.0)

    async def close(self) -> None:
        """Leave the group and close the connections, also those of a consumer that is joining."""
        latest, self.latest = self.latest, None
        if latest is not None:
            await stop(latest)

    async def _attempt(self, rebalances: Rebalances) -> AIOKafkaConsumer | tuple[str, str]:
        """Return a consumer that has joined; or why none has, with the event to be logged."""
        try:
            # Inside `try`: it reads the files of TLS, which may be unusable at this moment.
            consumer = self.latest = new_consumer(self._connection, self._options)
            await self._topics.look()
            if not self._topics.present:
                return "kafka_not_reached", self._topics.none_present()
            consumer.subscribe(topics=self._topics.present, listener=rebalances)
            # aiokafka waits for ever if the brokers that it knows are gone: a new consumer asks the
            # bootstrap servers.
            async with asyncio.timeout(self._options.rebalance_seconds_max):
                await start(consumer, self._note_answer)
        except InconsistentGroupProtocolError:
            return "group_held_by_another_program", await self._other_program()
        except (KafkaError, OSError) as error:
            return "kafka_not_reached", await explain(self._connection, error)
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return "kafka_not_reached", "aiokafka cancelled the request"
        return consumer

    async def _other_program(self) -> str:
        group_id = self._options.group_id
        members = await describe_members(self._connection.capped(DESCRIBE_SECONDS_MAX), group_id)
        return (
            f"another program holds the group {group_id} and shares no assignor with the worker: "
            f"{members}; "
            "stop it, or use another group for the worker (kafka.group_id)"
        )

    async def _answers_others(self) -> bool:
        """Return whether the group's coordinator answers over new connections."""
        try:
            async with TopicReader(self._connection.capped(DESCRIBE_SECONDS_MAX)) as reader:
                # The partition doesn't matter: only whether there is an answer.
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

    def _note_answer(self) -> None:
        self._answered_at = _now()


def new_consumer(connection: KafkaConnection, options: SourceOptions) -> AIOKafkaConsumer:
    """Return a consumer, neither subscribed nor started."""
    bound_decompression(options.batch_bytes_max)
    return connection.consumer(
        group_id=options.group_id,
        enable_auto_commit=False,
        # `latest` loses records, `earliest` hides that some were lost.
        auto_offset_reset="none",
        isolation_level="read_committed",
        # One assignor: two cost three rounds of JoinGroup.
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=round(options.session_timeout_seconds * 1000),
        heartbeat_interval_ms=round(options.heartbeat_interval_seconds * 1000),
        rebalance_timeout_ms=round(options.rebalance_timeout_seconds * 1000),
        metadata_max_age_ms=round(options.metadata_seconds * 1000),
        max_poll_interval_ms=POLL_INTERVAL_MILLISECONDS,
        max_partition_fetch_bytes=options.partition_fetch_bytes_max,
        fetch_max_bytes=options.fetch_bytes_max,
    )


async def start(consumer: AIOKafkaConsumer, answered: Callable[[], None]) -> None:
    """Connect to the brokers and join the group.

    Args:
        consumer: subscribed.
        answered: called whenever the coordinator answers it as a member, from now on.

    Raises:
        aiokafka.errors.InconsistentGroupProtocolError: the group's members share another assignor.
        aiokafka.errors.KafkaError: the brokers can't be reached, or a topic that is subscribed to
            doesn't exist.
    """
    note_coordinator_answers(consumer, answered)
    await consumer.start()
    pace_look_ups_of_leaders(consumer)
    hand_on_records(consumer)


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group, and close the connections."""
    error_detail = await close_consumer(consumer, STOP_SECONDS_MAX)
    if error_detail is not None:
        logger.warning("consumer_not_closed", extra={"detail": error_detail})


def _now() -> float:
    return asyncio.get_running_loop().time()

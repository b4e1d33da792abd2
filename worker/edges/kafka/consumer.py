"""A member of the consumer group as this worker wants it: how it is made, and how it is ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from worker.edges.kafka.aiokafka_internals import note_coordinator_answers, pace_look_ups_of_leaders
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.closing import close_consumer
from worker.edges.kafka.decompression import bound_decompression
from worker.edges.kafka.poller import PollOptions
from worker.edges.kafka.topics import LOOK_SECONDS
from worker.edges.kafka.window_rebuild import TailOptions

logger = logging.getLogger("worker.kafka")

# What the members of the group must share: the name of the one assignor.
ASSIGNOR = RoundRobinPartitionAssignor.name
# aiokafka leaves the group when nobody polls for max_poll_interval. With every partition paused
# nobody does, by design.
POLL_INTERVAL_MILLISECONDS = 2**31 - 1
# A partition that is added waits so long to be read; aiokafka's own 5 minutes are an outage.
METADATA_SECONDS = 60.0
STOP_SECONDS_MAX = 5.0
BATCH_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to consume. Sizes in bytes before decompression. `optional_topics` may be missing; they
    are read once they exist.

    `naming` is, of each topic, the topics whose records name its own: see `WindowRebuild`.
    `batch_bytes_max` is what a record batch may expand to: see `bound_decompression`.
    `look_seconds` is how often topics that are missing are looked for, and `metadata_seconds` how
    often new partitions are.
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
        """No rebalance takes longer while its coordinator can be reached: dead members' sessions
        end, slow ones are left.
        """
        return self.session_timeout_seconds + self.rebalance_timeout_seconds


def new_consumer(connection: KafkaConnection, options: SourceOptions) -> AIOKafkaConsumer:
    """A consumer, neither subscribed nor started."""
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


async def start(consumer: AIOKafkaConsumer, heard: Callable[[], None]) -> None:
    """Connect to the brokers and join the group.

    Args:
        consumer: subscribed.
        heard: called whenever the coordinator answers it as a member, from now on.

    Raises:
        aiokafka.errors.InconsistentGroupProtocolError: the group's members share another assignor.
        aiokafka.errors.KafkaError: the brokers can't be reached, or a topic that is subscribed to
            doesn't exist.
    """
    note_coordinator_answers(consumer, heard)
    await consumer.start()
    pace_look_ups_of_leaders(consumer)


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group, and close the connections."""
    error_detail = await close_consumer(consumer, STOP_SECONDS_MAX)
    if error_detail is not None:
        logger.warning("consumer_not_closed", extra={"detail": error_detail})

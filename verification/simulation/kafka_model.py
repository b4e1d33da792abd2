"""A deterministic Kafka cluster in memory, for aiokafka's own clients.

The clients are not imitated: `ModelKafka.consumer` and its siblings build the real ones, and so
does any code that connects to `ModelKafka.bootstrap_servers`. What is modelled is the broker, which
speaks Kafka's protocol over the virtual loop's network. So aiokafka's own behaviour (retries,
prefetching, calls of the rebalance listener) is the real behaviour.

Not modelled: several brokers (leader and coordinator never move), transactions beyond that one is
open, static membership, compression limits, quotas, authentication, and that a produced record
keeps the time its producer gave it: it gets the virtual time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord, TopicPartition

from verification.simulation.aiokafka_time import follow_loop_time
from verification.simulation.kafka_broker import Broker
from verification.simulation.kafka_coordinator import Coordinator, OnCommit
from verification.simulation.kafka_faults import Faults
from verification.simulation.kafka_leader import Leader
from verification.simulation.kafka_log import Header, PartitionLog
from verification.simulation.kafka_network import HOST, PORT, Network
from verification.simulation.virtual_loop import VirtualLoop

LATENCY_SECONDS = (0.0005, 0.003)
# The unix time at which virtual time is 0.
UNIX_SECONDS = 1_700_000_000


class ModelKafka:
    """The cluster. Made inside a history: it belongs to the running virtual loop.

    Args:
        randomness: draws latencies and faults.
        latency_seconds: the least and the most that a message takes, each way.
        on_commit: called at every accepted commit, with the group, the member's client id and the
            positions.
    """

    bootstrap_servers = f"{HOST}:{PORT}"

    def __init__(
        self,
        randomness: random.Random | None = None,
        latency_seconds: tuple[float, float] = LATENCY_SECONDS,
        on_commit: OnCommit | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise TypeError(
                "the model lives on a virtual loop: start the history with `virtual_loop.run`"
            )
        follow_loop_time()
        self._loop = loop
        self.faults = Faults(randomness or random.Random(0), latency_seconds)
        self.network = Network(loop, self.faults)
        self._leader = Leader(self.faults, self.unix_milliseconds)
        self.coordinator = Coordinator(
            lambda partition: self._leader.log(*partition) is not None,
            lambda: self.network.is_reachable,
            on_commit,
        )
        broker = Broker(
            self._leader, self.coordinator, self.faults, lambda: self.network.broker_address
        )
        self.network.open(broker.handlers)

    # --- topics and records -----------------------------------------------------------------------

    def add_topic(self, name: str, partitions: int) -> None:
        """Create a topic, or add partitions to it."""
        logs = self._leader.topics.setdefault(name, [])
        logs.extend(PartitionLog(name, number) for number in range(len(logs), partitions))

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its records."""
        del self._leader.topics[name]

    @property
    def topics(self) -> Collection[str]:
        """The existing topics."""
        return self._leader.topics.keys()

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Write a record without a producer, by default at the virtual time; returns its offset."""
        at = self.unix_milliseconds() if timestamp_ms is None else timestamp_ms
        offset = self._log(topic, partition).append(at, key, value, headers)
        self._leader.wake_fetches()
        return offset

    def append_control(self, topic: str, partition: int) -> int:
        """Write a marker that takes an offset and is never returned; returns its offset."""
        offset = self._log(topic, partition).append_control(self.unix_milliseconds())
        self._leader.wake_fetches()
        return offset

    def open_transaction(self, topic: str, partition: int) -> None:
        """Begin a transaction: workers can't read new records until `end_transaction`."""
        self._log(topic, partition).open_transaction()

    def end_transaction(self, topic: str, partition: int) -> None:
        """Commit the open transaction."""
        self._log(topic, partition).end_transaction()
        self._leader.wake_fetches()

    def skip(self, topic: str, partition: int, count: int) -> None:
        """Leave a gap of this many offsets before the next record, as compaction does."""
        self._log(topic, partition).skip(count)

    def truncate(self, topic: str, partition: int, before_offset: int) -> None:
        """Remove the records before this offset, as retention does."""
        self._log(topic, partition).truncate(before_offset)
        self._leader.wake_fetches()

    def records(self, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
        """Every record ever written, including removed records, in order per partition."""
        return [record for log in self._leader.topics[topic] for record in log.records()]

    def records_after(
        self, partition: TopicPartition, offset: int
    ) -> list[ConsumerRecord[bytes, bytes]]:
        """The records of one partition that were written behind this offset; see `records`."""
        return self._log(*partition).records(offset)

    def last_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """The offset of each partition's last record, -1 for none."""
        return {
            TopicPartition(topic, log.partition): log.last_offset
            for log in self._leader.topics[topic]
        }

    def end(self, partition: TopicPartition) -> int:
        """The offset behind the last record."""
        return self._log(*partition).end

    def unix_milliseconds(self) -> int:
        """The virtual time as the timestamp of a record."""
        return UNIX_SECONDS * 1000 + round(self._loop.time() * 1000)

    async def await_onlooker(self) -> None:
        """Wait until a client without a group asks for records."""
        await self._leader.await_onlooker()

    def _log(self, topic: str, partition: int) -> PartitionLog:
        return self._leader.topics[topic][partition]

    # --- faults of logs and topics ----------------------------------------------------------------

    def damage(self, partition: TopicPartition, offset: int) -> None:
        """Make this record unreadable, however often it is fetched; others stay readable."""
        self._log(*partition).damage(offset)

    def elect_uncleanly(self, partition: TopicPartition, end: int) -> None:
        """Elect a replica without the records from this offset on: the others are lost."""
        self._log(*partition).elect_uncleanly(end)
        self._leader.wake_fetches()

    def elect(self, partition: TopicPartition) -> None:
        """Elect another leader of the partition, which has all its records."""
        self._log(*partition).elect()

    def recreate_topic(self, topic: str) -> None:
        """Delete the topic, and create it again, empty."""
        self._leader.topics[topic] = [
            PartitionLog(topic, log.partition) for log in self._leader.topics[topic]
        ]
        self._leader.wake_fetches()

    # --- clients ----------------------------------------------------------------------------------

    def consumer(self, *topics: str, **options: Any) -> AIOKafkaConsumer:
        """A real consumer for this cluster, not yet started. Takes what AIOKafkaConsumer takes."""
        return AIOKafkaConsumer(*topics, **{**options, "bootstrap_servers": self.bootstrap_servers})

    def producer(self, **options: Any) -> AIOKafkaProducer:
        """A real producer for this cluster, not yet started.

        A producer that sends no keys draws partitions from `random`.
        """
        return AIOKafkaProducer(**{**options, "bootstrap_servers": self.bootstrap_servers})

    def admin(self, **options: Any) -> AIOKafkaAdminClient:
        """A real admin client for this cluster, not yet started."""
        return AIOKafkaAdminClient(**{**options, "bootstrap_servers": self.bootstrap_servers})

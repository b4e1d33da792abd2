"""A deterministic Kafka cluster in memory, for aiokafka's own clients.

The clients are not imitated: `ModelKafka.consumer` and its siblings build the real ones, and so
does any code that connects to `ModelKafka.bootstrap_servers`. What is modelled is the broker, which
speaks Kafka's protocol over the virtual loop's network. So all that aiokafka does by itself — its
retries, its prefetching, what the rebalance listener sees — is as it will be.

Not modelled: several brokers (leader and coordinator never move), transactions beyond that one is
open, static membership, compression limits, quotas, authentication, and that a produced record
keeps the time its producer gave it: it gets the virtual time.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import BrokerResponseError
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata, TopicPartition

from verification.simulation.aiokafka_time import follow_loop_time
from verification.simulation.kafka_broker import BROKER_HOST, HOST, PORT, Asking, Broker, OnCommit
from verification.simulation.kafka_faults import Answer, Chances, Fault, Faults
from verification.simulation.kafka_log import Header, PartitionLog
from verification.simulation.kafka_wire import Connection
from verification.simulation.virtual_loop import VirtualLoop

LATENCY_SECONDS = (0.0005, 0.003)
# The unix time at which virtual time is 0.
UNIX_SECONDS = 1_700_000_000
MEMBERSHIP_API_KEYS = frozenset(
    request.API_KEY
    for request in (JoinGroupRequest, SyncGroupRequest, HeartbeatRequest, OffsetCommitRequest)
)


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
        self._faults = Faults(randomness or random.Random(0), latency_seconds)
        self._broker = Broker(
            self._faults, self.unix_milliseconds, lambda: self._is_up and self._flows.is_set()
        )
        self._broker.on_commit = on_commit
        self._connections: dict[Connection, None] = {}
        self._numbers = count()
        self.requests: Counter[str] = Counter()
        self._is_up = True
        self._flows = asyncio.Event()
        self._cut_off: dict[str, asyncio.Event] = {}
        self._flows.set()
        loop.listen(HOST, PORT, self._accept)
        loop.listen(self._broker.host, PORT, self._accept)

    # --- what is in it ----------------------------------------------------------------------------

    def add_topic(self, name: str, partitions: int) -> None:
        """Create a topic, or add partitions to it."""
        logs = self._broker.topics.setdefault(name, [])
        logs.extend(PartitionLog(name, number) for number in range(len(logs), partitions))

    @property
    def topics(self) -> Collection[str]:
        """The topics that are there."""
        return self._broker.topics.keys()

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
        self._broker.wake_fetches()
        return offset

    def append_control(self, topic: str, partition: int) -> int:
        """Write a marker that takes an offset and is never returned; returns its offset."""
        offset = self._log(topic, partition).append_control(self.unix_milliseconds())
        self._broker.wake_fetches()
        return offset

    def open_transaction(self, topic: str, partition: int) -> None:
        """Begin a transaction: workers can't read new records until `end_transaction`."""
        self._log(topic, partition).open_transaction()

    def end_transaction(self, topic: str, partition: int) -> None:
        """The open transaction is committed."""
        self._log(topic, partition).end_transaction()
        self._broker.wake_fetches()

    def skip(self, topic: str, partition: int, count: int) -> None:
        """Leave a gap of this many offsets before the next record, as compaction does."""
        self._log(topic, partition).skip(count)

    def truncate(self, topic: str, partition: int, before_offset: int) -> None:
        """Remove the records before this offset, as retention does."""
        self._log(topic, partition).truncate(before_offset)
        self._broker.wake_fetches()

    def records(self, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
        """Every record that was ever written, removed ones included, in order per partition."""
        return [record for log in self._broker.topics[topic] for record in log.records()]

    def records_after(
        self, partition: TopicPartition, offset: int
    ) -> list[ConsumerRecord[bytes, bytes]]:
        """As `records`, of one partition, and only what was written behind this offset."""
        return self._log(*partition).records(offset)

    def last_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """The offset of each partition's last record, -1 for none."""
        return {
            TopicPartition(topic, log.partition): log.last_offset
            for log in self._broker.topics[topic]
        }

    def end(self, partition: TopicPartition) -> int:
        """The offset behind the last record."""
        return self._log(*partition).end

    def committed(self, group_id: str, partition: TopicPartition) -> tuple[int, str] | None:
        """What the group has committed for the partition: offset and metadata."""
        position = self._broker.group(group_id).committed.get(partition)
        return None if position is None else (position.offset, position.metadata)

    def members(self, group_id: str) -> list[str]:
        """The client ids of the group's members, in the order in which they have joined."""
        return [
            member.joining.client_id for member in self._broker.group(group_id).members.values()
        ]

    def unix_milliseconds(self) -> int:
        """The virtual time as records carry it."""
        return UNIX_SECONDS * 1000 + round(self._loop.time() * 1000)

    # --- its clients ------------------------------------------------------------------------------

    def consumer(self, *topics: str, **options: Any) -> AIOKafkaConsumer:
        """A real consumer for this cluster, not yet started. Takes what AIOKafkaConsumer takes."""
        return AIOKafkaConsumer(*topics, **{**options, "bootstrap_servers": self.bootstrap_servers})

    def producer(self, **options: Any) -> AIOKafkaProducer:
        """A real producer for this cluster, not yet started.

        One that sends no keys draws partitions from `random`.
        """
        return AIOKafkaProducer(**{**options, "bootstrap_servers": self.bootstrap_servers})

    def admin(self, **options: Any) -> AIOKafkaAdminClient:
        """A real admin client for this cluster, not yet started."""
        return AIOKafkaAdminClient(**{**options, "bootstrap_servers": self.bootstrap_servers})

    # --- what goes wrong --------------------------------------------------------------------------

    def set_chances(self, chances: Chances) -> None:
        """How likely faults are from now on; `Chances()` ends them."""
        self._faults.chances = chances

    def limit_commit_metadata(self, bytes_max: int, on_refusal: Callable[[str, int], None]) -> None:
        """Set `offset.metadata.max.bytes`, and report larger commits: client id and excess."""
        self._broker.commit_metadata_bytes_max = bytes_max
        self._broker.on_refusal_for_size = on_refusal

    def disturb(self, request: type[Request[Any]], fault: Fault) -> None:
        """The next request of this kind, from whomever, meets this fault."""
        self._faults.ask(request, fault)

    def refuse_commit(self, error: type[BrokerResponseError]) -> None:
        """The next commit has no effect and is answered with this error."""
        self.disturb(OffsetCommitRequest, Fault(error))

    def lose_commit_answer(self, answer: Answer = Answer.LOST) -> None:
        """The next commit takes effect, and its answer gets lost."""
        self.disturb(OffsetCommitRequest, Fault(answer=answer))

    def delay_commit(self, seconds: float) -> None:
        """Delay the effect of the next commit by this time."""
        self.disturb(OffsetCommitRequest, Fault(delay_seconds=seconds))

    def refuse_produce(self, error: type[BrokerResponseError]) -> None:
        """The next produce request writes nothing and is answered with this error."""
        self.disturb(ProduceRequest, Fault(error))

    def corrupt_fetch(self, partition: TopicPartition) -> None:
        """Corrupt the last batch of the next answer for this partition; the next is whole."""
        self._faults.corrupt(partition)

    def damage(self, partition: TopicPartition, offset: int) -> None:
        """This record can't be read any more, however often it is fetched; those beside it can."""
        self._log(*partition).damage(offset)

    def lose_leader(self, partition: TopicPartition) -> None:
        """Take all replicas of this partition away: no leader, no look-up, no write."""
        self._faults.leaderless.add(partition)

    def find_leader(self, partition: TopicPartition) -> None:
        """End what `lose_leader` has begun."""
        self._faults.leaderless.discard(partition)

    def elect_uncleanly(self, partition: TopicPartition, end: int) -> None:
        """Elect a replica without the records from this offset on: the others are lost."""
        self._log(*partition).elect_uncleanly(end)
        self._broker.wake_fetches()

    def elect(self, partition: TopicPartition) -> None:
        """Another broker leads the partition, with all its records."""
        self._log(*partition).elect()

    def recreate_topic(self, topic: str) -> None:
        """It is deleted and made again, empty."""
        self._broker.topics[topic] = [
            PartitionLog(topic, log.partition) for log in self._broker.topics[topic]
        ]
        self._broker.wake_fetches()

    def take_down(self) -> None:
        """Break all connections, and refuse new connections.

        No session ends meanwhile: a coordinator that comes back waits anew.
        """
        self._is_up = False
        self.cut_connections()

    def bring_up(self) -> None:
        """End what `take_down` or `hang` has begun."""
        self._is_up = True
        self._flows.set()

    def move(self) -> None:
        """Move the broker: the cluster's name leads to the new address, the old one nowhere."""
        self._loop.close_listener(self._broker.host, PORT)
        self._broker.host = f"moved-{next(self._numbers)}.{BROKER_HOST}"
        self._loop.listen(self._broker.host, PORT, self._accept)
        self.cut_connections()

    def hang(self) -> None:
        """Answer nothing any more, with all connections open."""
        self._flows.clear()

    def cut_connections(self) -> None:
        """Break all connections; new connections are accepted."""
        for connection in list(self._connections):
            connection.cut()

    async def onlooker_comes(self) -> None:
        """Wait until somebody without a group asks for records."""
        self._broker.onlooked.clear()
        await self._broker.onlooked.wait()

    def silence_connections(self, *, but_memberships: bool = True) -> None:
        """Break all connections without notice; new connections work.

        Those of members to their coordinator may be left out.
        """
        for connection in list(self._connections):
            if not (but_memberships and connection.is_membership) and connection.server is not None:
                connection.server.cancel()

    def cut_off(self, client_id: str) -> None:
        """Drop all that this client sends, with its connections open; others are served."""
        self._cut_off[client_id] = asyncio.Event()

    def reconnect(self, client_id: str) -> None:
        """What the client has sent meanwhile arrives now."""
        self._cut_off.pop(client_id).set()

    def expire_session(self, group_id: str, client_id: str) -> None:
        """Remove the members with this client id, as if no heartbeat had arrived.

        They learn it from their next request.
        """
        group = self._broker.group(group_id)
        for member_id in [
            one for one, member in group.members.items() if member.joining.client_id == client_id
        ]:
            group.remove(member_id)

    def force_rebalance(self, group_id: str) -> None:
        """Ask all members to join again."""
        group = self._broker.group(group_id)
        if group.members:
            group.rebalance()

    def damage_metadata(self, group_id: str) -> None:
        """Turn a bit in the middle of each text that the group has committed beside a position."""
        group = self._broker.group(group_id)
        committed = group.committed
        for partition, (offset, metadata) in list(committed.items()):
            if metadata:
                middle = len(metadata) // 2
                # Base64 stays base64: only the checksum can tell.
                turned = "B" if metadata[middle] != "B" else "C"
                committed[partition] = OffsetAndMetadata(
                    offset, metadata[:middle] + turned + metadata[middle + 1 :]
                )
                if self._broker.on_commit is not None:
                    self._broker.on_commit(
                        group_id,
                        "somebody else",
                        {partition: (offset, committed[partition].metadata)},
                    )

    # --- serving ----------------------------------------------------------------------------------

    def _log(self, topic: str, partition: int) -> PartitionLog:
        return self._broker.topics[topic][partition]

    def _accept(self, protocol: asyncio.BaseProtocol) -> Connection:
        if not self._is_up:
            raise ConnectionRefusedError("the cluster is down")
        connection = Connection(protocol)
        connection.server = self._loop.create_task(
            self._serve(connection), name=f"model-kafka-{next(self._numbers)}"
        )
        self._connections[connection] = None
        connection.server.add_done_callback(lambda server: self._end(connection, server))
        return connection

    def _end(self, connection: Connection, server: asyncio.Task[None]) -> None:
        del self._connections[connection]
        if not server.cancelled() and (error := server.exception()) is not None:
            self._loop.raise_later(error)

    async def _serve(self, connection: Connection) -> None:
        """Answer requests in order, as a broker does: they wait behind a long poll."""
        while True:
            (api_key, version, correlation_id, client_id), body = await connection.receive()
            connection.is_membership |= api_key in MEMBERSHIP_API_KEYS
            request, handler = self._broker.handlers[api_key, version]
            self.requests[request.__name__] += 1
            fault = self._faults.next(api_key)
            await asyncio.sleep(self._faults.latency() + fault.delay_seconds)
            if client_id in self._cut_off:
                await self._cut_off[client_id].wait()
            await self._flows.wait()
            response = await handler(request.decode(body), Asking(client_id, fault.error))
            await asyncio.sleep(self._faults.latency())
            await self._flows.wait()
            match fault.answer:
                case Answer.SENT:
                    connection.answer(correlation_id, response)
                case Answer.LOST:
                    connection.cut()
                case Answer.NEVER:
                    await asyncio.Event().wait()

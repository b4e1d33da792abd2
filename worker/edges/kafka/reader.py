"""Reads topics as an onlooker: joins no group and leaves no trace.

For rebuilding windows, and for the tools around the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import Place, Position, Record, TopicPartition
from worker.edges.kafka.aiokafka_internals.closing import close_consumer
from worker.edges.kafka.chunks import DAMAGE, DamageSkips, OnDamage
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.coordinator import ask_coordinator, committed_positions

POLL_MILLISECONDS = 200
CHUNK_RECORDS = 1000
PARTITION_FETCH_BYTES_MAX = 1_048_576
# aiokafka would try for ever against a dead coordinator.
COMMIT_SECONDS_MAX = 15.0
STOP_SECONDS_MAX = 1.0
# Behind the end of a partition the client waits for more records, and only then fetches the next
# partition.
FETCH_WAIT_MILLISECONDS = 10


@dataclass(frozen=True, slots=True)
class Span:
    """Records of one partition, from one offset to before another."""

    partition: TopicPartition
    begin: int
    end: int

    @property
    def length(self) -> int:
        """The number of offsets; there may be fewer records."""
        return max(0, self.end - self.begin)


class TopicReader:
    """An async context manager.

    Args:
        connection: the brokers.
        group_id: the group that `commit` commits for; None for an onlooker. It is never joined.
        on_damage: called for each record that can't be read (a wrong checksum, a batch that is too
            large when decompressed, a header's name that isn't UTF-8), which is then skipped.
            Without it, reading ends there, with aiokafka's error.

    Opening, and every method, raises `aiokafka.errors.KafkaError` where the brokers can't be asked.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        group_id: str | None = None,
        on_damage: OnDamage | None = None,
    ) -> None:
        self._connection = connection
        self._group_id = group_id
        self._damage = DamageSkips(on_damage) if on_damage is not None else None
        self._consumer: AIOKafkaConsumer
        self._admin: AIOKafkaAdminClient

    async def __aenter__(self) -> TopicReader:
        # `earliest` skips records that retention deletes meanwhile; `latest` would jump to the end.
        self._consumer = self._connection.consumer(
            group_id=self._group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
        )
        self._admin = self._connection.admin()
        try:
            await self._consumer.start()
            await self._admin.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        try:
            await close_consumer(self._consumer, STOP_SECONDS_MAX)
        finally:
            await self._admin.close()

    async def partitions(self, topics: Collection[str]) -> dict[str, list[TopicPartition]]:
        """Return the partitions of those topics that exist.

        The brokers are asked (a consumer knows only its own topics), and for all topics (asking for
        a topic by name creates it, where the broker is set so).
        """
        answer = await self._admin.describe_topics()
        for one in answer:
            if one["error_code"] and one["topic"] in topics:
                raise for_code(one["error_code"])(one["topic"])
        return {
            one["topic"]: sorted(
                TopicPartition(one["topic"], partition["partition"])
                for partition in one["partitions"]
            )
            for one in answer
            if one["topic"] in topics
        }

    async def topics(self) -> frozenset[str]:
        """Return all topics that we may see."""
        return frozenset(await self._admin.list_topics())

    async def spans(
        self, topics: Collection[str], since_milliseconds: int | None = None
    ) -> list[Span]:
        """Return the records of these topics now; with a time, from its first record on."""
        found = await self.partitions(topics)
        return await self.spans_of(
            [one for topic in sorted(found) for one in found[topic]], since_milliseconds
        )

    async def spans_of(
        self, partitions: Sequence[TopicPartition], since_milliseconds: int | None = None
    ) -> list[Span]:
        """As `spans`, for these partitions and in their order."""
        asked = [ClientPartition(*one) for one in partitions]
        if not asked:
            return []
        begins = await self._consumer.beginning_offsets(asked)
        ends = await self._consumer.end_offsets(asked)
        if since_milliseconds is not None:
            found = await self._consumer.offsets_for_times(
                dict.fromkeys(asked, max(0, since_milliseconds))
            )
            begins = {
                one: at.offset if (at := found[one]) is not None else ends[one] for one in asked
            }
        return [Span(TopicPartition(*one), begins[one], ends[one]) for one in asked]

    async def chunks(
        self,
        spans: Iterable[Span],
        records_max: int = CHUNK_RECORDS,
        seconds_max: float | None = None,
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the records of these spans, one span after the other, in chunks with records.

        Raises:
            TimeoutError: a chunk took longer than `seconds_max`. The client itself tries for ever.
        """
        for span in spans:
            if span.length == 0:
                continue
            client = ClientPartition(*span.partition)
            self._consumer.assign([client])
            self._consumer.seek(client, span.begin)
            while True:
                async with asyncio.timeout(seconds_max):
                    records = await self._chunk(client, span.end, records_max)
                if not records:
                    break
                yield span.partition, records

    async def _chunk(self, client: ClientPartition, end: int, records_max: int) -> Sequence[Record]:
        """Return the next records of the assigned partition; none if its end is reached."""
        while (position := await self._consumer.position(client)) < end:
            found: Sequence[Record]
            try:
                fetched = await self._consumer.getmany(
                    client, timeout_ms=POLL_MILLISECONDS, max_records=records_max
                )
                found = fetched.get(client, ())
            except DAMAGE:
                if self._damage is None:
                    raise
                found = await self._damage.take(self._consumer, client, position, records_max)
            records = [record for record in found if record.offset < end]
            if records:
                return records
        return ()

    async def mixed(
        self, spans: Sequence[Span], records_max: int = CHUNK_RECORDS
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the records of all these spans as they arrive; a partition has one span."""
        ends = {ClientPartition(*span.partition): span.end for span in spans if span.length}
        if not ends:
            return
        self._consumer.assign(list(ends))
        for span in spans:
            if span.length:
                self._consumer.seek(ClientPartition(*span.partition), span.begin)
        unread = set(ends)
        positions = {ClientPartition(*span.partition): span.begin for span in spans}
        while unread:
            try:
                fetched = await self._consumer.getmany(
                    *unread, timeout_ms=POLL_MILLISECONDS, max_records=records_max
                )
            except DAMAGE:
                if self._damage is None:
                    raise
                # The records of other partitions that were fetched with it are dropped: read one
                # partition after the other, from its last position.
                left = sorted(unread)
                rest = [Span(TopicPartition(*one), positions[one], ends[one]) for one in left]
                async for chunk in self.chunks(rest, records_max):
                    yield chunk
                return
            for client, some in fetched.items():
                positions[client] = some[-1].offset + 1
                records = [record for record in some if record.offset < ends[client]]
                if records:
                    yield TopicPartition(*client), records
            unread = {
                client for client in unread if await self._consumer.position(client) < ends[client]
            }

    async def record(self, place: Place) -> Record | None:
        """Return the record at this place; None where it was deleted, never written, or aborted."""
        partition = TopicPartition(place.topic, place.partition)
        known = await self.partitions({place.topic})
        if partition not in known.get(place.topic, ()):
            return None
        (span,) = await self.spans_of([partition])
        if not span.begin <= place.offset < span.end:
            return None
        # To the end: behind a transaction's marker the position moves on with the next record.
        rest = Span(partition, place.offset, span.end)
        async for _, records in self.chunks([rest], records_max=1):
            return records[0] if records[0].offset == place.offset else None
        return None

    async def committed(
        self, group_id: str, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, Position | None]:
        """Return the positions that a group has committed, None for nothing."""
        if not partitions:
            return {}
        return await ask_coordinator(lambda: committed_positions(self._admin, group_id, partitions))

    async def commit(self, partition: TopicPartition, position: Position) -> None:
        """Commit for the own group; `partition` is the partition whose chunks are being read.

        Raises:
            aiokafka.errors.KafkaError: it is not known to be committed.
        """
        async with asyncio.timeout(COMMIT_SECONDS_MAX):
            await self._consumer.commit({ClientPartition(*partition): OffsetAndMetadata(*position)})

    async def groups(self, prefix: str) -> list[str]:
        """Return the groups whose names begin with the prefix, as far as we may see them."""
        return sorted(
            name for name, _ in await self._admin.list_consumer_groups() if name.startswith(prefix)
        )

    async def brokers(self) -> list[str]:
        """Return the addresses of the cluster's brokers."""
        described: dict[str, Any] = await self._admin.describe_cluster()
        return [f"{one['host']}:{one['port']}" for one in described["brokers"]]

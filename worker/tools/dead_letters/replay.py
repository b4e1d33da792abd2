"""Replays stored records: writes them to their source topics with the original key and value.

Committed positions remember what was replayed, so a replay that was stopped or killed continues
where it ended. Each selection has its own consumer group, `<group>.replay.<digest>`, and the
selection itself is the metadata of each commit. So every replay knows what all others have replayed
and writes no record a second time: first the records of one reason, for example, then the rest.

A position is committed after the batch below it is acknowledged. A replay that is killed in between
repeats one batch and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from msgspec import structs

from worker.core.delivery.flow_control import Rate
from worker.core.model.clock import Now
from worker.core.model.record import Place, Position, Record, TopicPartition
from worker.core.model.row import Row
from worker.core.wire.record_headers import REPLAYS, WRITTEN, own, written_milliseconds
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.producer import BatchProducer, Outgoing
from worker.edges.kafka.reader import Span, TopicReader
from worker.errors import ExitCode, WorkerError
from worker.tools.dead_letters.record import FOREIGN, StoredRecord, read
from worker.tools.dead_letters.replay_plan import (
    FinishedRecords,
    ReplayCounts,
    ReplayPlan,
    ReplayProgress,
    finished_records,
    unwritable_topics,
)
from worker.tools.dead_letters.scan import source_record
from worker.tools.validation import DryRun

# Written, acknowledged and committed together; what a killed replay repeats at most.
BATCH_RECORDS = 100
# offset.metadata.max.bytes of the broker.
METADATA_CHARACTERS_MAX = 4096
# Results of a dry run, beside the reasons of rejections: the worker would take the record, and the
# worker has no route for its topic.
VALID = "valid"
NOT_READ = "not_read"

# Handles a batch of records to replay, and the offset behind the batch.
HandleBatch = Callable[[TopicPartition, Sequence[StoredRecord], int], Awaitable[None]]


class ReplayError(WorkerError):
    """The replay can't continue. All it has replayed is committed, except one batch at most."""

    exit_code = ExitCode.UNSETTLED


class Replay:
    """One replay.

    Args:
        connection: the brokers.
        plan: the records to replay.
        dry_run: has the routes, and says what the worker would do with a record.
        now: reads the clocks.
        report: takes the progress after each batch.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        plan: ReplayPlan,
        dry_run: DryRun,
        now: Callable[[], Now],
        report: Callable[[ReplayProgress], None],
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._dry_run = dry_run
        self._now = now
        self._report = report
        self._rate = Rate(plan.per_second)
        self._counts = ReplayCounts()
        # Source topics that aren't written to, each with the cause.
        self._excluded: dict[str, str] = {}
        # What this replay's group has committed.
        self._committed: dict[TopicPartition, Position | None] = {}

    async def run(self) -> ReplayCounts:
        """Replay the selected records.

        Raises:
            ReplayError: another replay of the same selection is running, or the selection is too
                long to be committed.
            aiokafka.errors.KafkaError: the brokers can't be reached or refuse a request.
        """
        await self._exclude_topics()
        reading = TopicReader(self._connection, self._plan.group_id, self._note_damage)
        async with reading as reader, BatchProducer(self._connection) as producer:

            async def write(
                partition: TopicPartition, batch: Sequence[StoredRecord], following: int
            ) -> None:
                await self._write(reader, producer, partition, batch)
                await self._commit(reader, partition, following)

            await self._scan(reader, write)
        return self._counts

    async def try_out(self) -> ReplayCounts:
        """Count what would be replayed, and what the worker would do with it. Writes nothing."""
        await self._exclude_topics()
        async with TopicReader(self._connection, on_damage=self._note_damage) as reader:
            await self._scan(reader, self._count_verdicts)
        return self._counts

    async def _exclude_topics(self) -> None:
        """Exclude source topics that can't or mustn't be written to: their records stay replayable.

        This is a pass of its own, because the excluded topics are a part of the selection that the
        committed positions refer to.
        """
        plan = self._plan
        waiting: Counter[str] = Counter()
        async with TopicReader(self._connection, on_damage=lambda place, detail: None) as reader:
            spans = await reader.spans(plan.topics, plan.selection.since)
            partitions = [span.partition for span in spans]
            finished = await self._finished(reader, partitions)
            # A replay without excluded topics has replayed all that is below its position.
            committed = await reader.committed(plan.group_id, partitions)
            rest = [_after(span, committed[span.partition]) for span in spans]
            async for partition, records in reader.chunks(rest):
                for stored in self._read(partition, records):
                    is_open = stored.reason != FOREIGN and not finished.includes(stored)
                    if stored.origin is not None and is_open:
                        waiting[stored.origin.topic] += plan.selection.matches(stored)
        topics = [topic for topic, count in waiting.items() if count]
        self._excluded = await unwritable_topics(self._connection, topics)
        for topic in plan.ordered_topics.intersection(topics):
            self._excluded[topic] = f"topic {topic} is ordered: use --allow-reorder to replay"
        for topic, cause in self._excluded.items():
            self._counts.refused[cause] += waiting[topic]
        selection = structs.replace(plan.selection, without_origins=tuple(sorted(self._excluded)))
        if len(selection.text()) > METADATA_CHARACTERS_MAX:
            raise ReplayError(
                "the selection is too long to be committed; select fewer applications, or create "
                "the source topics that do not exist"
            )
        self._plan = replace(plan, selection=selection)

    def _note_damage(self, place: Place, detail: str) -> None:
        self._counts.refused["unreadable"] += 1

    async def _finished(
        self, reader: TopicReader, partitions: Sequence[TopicPartition]
    ) -> FinishedRecords:
        plan = self._plan
        return await finished_records(reader, plan.worker_group_id, plan.group_prefix, partitions)

    def _read(self, partition: TopicPartition, records: Iterable[Record]) -> list[StoredRecord]:
        return [read(partition, record, self._dry_run.applications) for record in records]

    async def _scan(self, reader: TopicReader, handle: HandleBatch) -> None:
        plan = self._plan
        spans = await reader.spans(plan.topics, plan.selection.since)
        partitions = [span.partition for span in spans]
        finished = await self._finished(reader, partitions)
        self._committed = dict(await reader.committed(plan.group_id, partitions))
        total, done = sum(span.length for span in spans), 0
        for span in spans:
            rest = _after(span, self._committed[span.partition])
            begin = rest.begin
            done += begin - span.begin
            async for partition, records in reader.chunks([rest], BATCH_RECORDS):
                batch, following = self._choose(self._read(partition, records), finished)
                await handle(partition, batch, following)
                done += following - begin
                begin = following
                self._report(ReplayProgress(done, total, self._counts))
                if plan.records_max is not None and self._counts.sent >= plan.records_max:
                    return

    def _choose(
        self, records: Sequence[StoredRecord], finished: FinishedRecords
    ) -> tuple[list[StoredRecord], int]:
        """The records to replay, up to the maximum, and the offset behind the examined records."""
        counts, plan = self._counts, self._plan
        chosen: list[StoredRecord] = []
        room = None if plan.records_max is None else plan.records_max - counts.sent
        for stored in records:
            if room is not None and len(chosen) >= room:
                return chosen, stored.place.offset
            counts.looked_at += 1
            if stored.origin is not None and stored.origin.topic in self._excluded:
                # Counted in the first pass.
                continue
            if not plan.selection.matches_content(stored):
                counts.not_meant += 1
            elif finished.includes(stored):
                counts.sent_before += 1
            elif (cause := self._refusal(stored)) is not None:
                counts.refused[cause] += 1
            else:
                chosen.append(stored)
        return chosen, records[-1].place.offset + 1

    def _refusal(self, stored: StoredRecord) -> str | None:
        """Why a selected record can't be replayed; None if it can."""
        if stored.reason == FOREIGN or stored.origin is None:
            return "its headers name no source record"
        if self._plan.selection.has_too_many_replays(stored):
            return f"already replayed {self._plan.selection.replays_max} times"
        return None

    async def _write(
        self,
        reader: TopicReader,
        producer: BatchProducer,
        partition: TopicPartition,
        batch: Sequence[StoredRecord],
    ) -> None:
        """Write a batch; returns after its acknowledgement."""
        await self._wait_for_rate()
        # Two people may start the same command.
        committed = await reader.committed(self._plan.group_id, [partition])
        if committed[partition] != self._committed[partition]:
            raise ReplayError(
                f"another replay of this selection is running: it has committed {partition}"
            )
        outgoing = [
            Outgoing(
                origin.topic,
                record.key,
                record.value,
                [
                    *own(record),
                    (REPLAYS, b"%d" % (stored.replays + 1)),
                    (WRITTEN, b"%d" % written_milliseconds(stored.record)),
                ],
            )
            for stored, origin, record in await self._whole(batch)
        ]
        await producer.send(outgoing)
        self._rate.take(len(outgoing), self._now().monotonic_seconds)
        self._counts.sent += len(outgoing)

    async def _commit(self, reader: TopicReader, partition: TopicPartition, offset: int) -> None:
        position = Position(offset, self._plan.selection.text())
        await reader.commit(partition, position)
        self._committed[partition] = position

    async def _count_verdicts(
        self, partition: TopicPartition, batch: Sequence[StoredRecord], following: int
    ) -> None:
        """Count what the worker would do with a batch."""
        for _, origin, record in await self._whole(batch):
            verdict = NOT_READ
            if origin.topic in self._dry_run.routes:
                result = self._dry_run.check(origin.topic, origin.partition, record, self._now())
                verdict = VALID if isinstance(result, Row) else result.reason.value
            self._counts.verdicts[verdict] += 1
            self._counts.sent += 1

    async def _whole(
        self, batch: Sequence[StoredRecord]
    ) -> list[tuple[StoredRecord, Place, Record]]:
        """Each record with its origin and its whole value.

        A shortened dead letter is replaced by its source record, or left out and counted.
        """
        whole: list[tuple[StoredRecord, Place, Record]] = []
        for stored in batch:
            if stored.origin is None:
                continue
            record: Record | None = stored.record
            if stored.shortened is not None:
                # A reader of its own: the other is in the middle of a partition.
                async with TopicReader(self._connection) as reader:
                    record = await source_record(reader, stored)
            if record is None:
                self._counts.refused["shortened, and the source record no longer exists"] += 1
            else:
                whole.append((stored, stored.origin, record))
        return whole

    async def _wait_for_rate(self) -> None:
        wait = self._rate.free_at - self._now().monotonic_seconds
        if wait > 0:
            await asyncio.sleep(wait)


def _after(span: Span, at: Position | None) -> Span:
    """The part of a span at and above a committed position."""
    if at is None:
        return span
    return Span(span.partition, min(max(span.begin, at.offset), span.end), span.end)

"""Sends letters back to the topics that they came from.

What has been sent back is told by committed positions, so that a replay that was stopped, or
killed, goes on where it was. Each selection has a group of its own, `<group>.replay.<digest>`, and
the selection itself stands beside each position. So every replay knows of all others what they have
sent, and none sends a letter that another has: first those of one reason, then the rest, in
whatever order.

A position is committed when the batch below it is acknowledged, and not before: killed in between,
one batch is repeated, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from worker.core.delivery.rate import Rate
from worker.core.model.clock import Now
from worker.core.model.fault import Rejection
from worker.core.model.record import Place, Position, Record, TopicPartition
from worker.core.wire.record_headers import REPLAYS, own
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.producer import BatchProducer, Outgoing
from worker.edges.kafka.reader import Span, TopicReader
from worker.errors import ExitCode, WorkerError
from worker.tools.dead_letters.closed_topics import why_closed
from worker.tools.dead_letters.record import FOREIGN, StoredRecord, read
from worker.tools.dead_letters.replayed import Settled, sent_by_replays, settled_by_worker
from worker.tools.dead_letters.selection import ReplayedSelection, Selection
from worker.tools.dry_run import DryRun

# Sent, acknowledged and committed together; what a killed replay repeats at most.
BATCH_RECORDS = 100
# offset.metadata.max.bytes of the broker.
METADATA_CHARACTERS_MAX = 4096
# What the worker would make of a letter that it would not reject; and of one whose topic it doesn't
# read.
VALID = "valid"
NOT_READ = "not_read"


class ReplayError(WorkerError):
    """The replay can't go on. What it has sent is committed, but for one batch at most."""

    exit_code = ExitCode.UNSETTLED


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to send back. `worker_group_id`: what that group has settled of a parking topic has come
    home already.

    `records_max` None: all. `per_second` None: as fast as it goes.
    """

    topics: tuple[str, ...]
    worker_group_id: str
    selection: Selection
    records_max: int | None = None
    per_second: float | None = None

    @property
    def group_prefix(self) -> str:
        """What the names of all replays' groups begin with."""
        return f"{self.worker_group_id}.replay."

    @property
    def group_id(self) -> str:
        """The group that keeps this selection's positions."""
        return self.group_prefix + self.selection.digest()


@dataclass(slots=True)
class ReplayCounts:
    """What became of the letters that were looked at.

    `sent`: sent back, or, of a dry run, would be; `verdicts` what the worker would make of these
    now: `valid`, `not_read`, or a reason. `refused`: letters that are meant and can't be sent back,
    by why.
    """

    looked_at: int = 0
    sent: int = 0
    sent_before: int = 0
    not_meant: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "looked_at": self.looked_at,
            "sent": self.sent,
            "sent_before": self.sent_before,
            "not_meant": self.not_meant,
            "refused": dict(self.refused.most_common()),
            "verdicts": dict(self.verdicts.most_common()),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: offsets of all that it looks through."""

    done: int
    total: int
    counts: ReplayCounts


class Replay:
    """One run.

    Args:
        connection: the brokers.
        plan: what to send back.
        judge: knows the routes, and what the worker would make of a record.
        now: reads the clocks.
        report: is told of each batch.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        plan: ReplayPlan,
        judge: DryRun,
        now: Callable[[], Now],
        report: Callable[[Progress], None],
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._judge = judge
        self._now = now
        self._report = report
        self._rate = Rate(plan.per_second)
        self._counts = ReplayCounts()
        self._applications = judge.applications
        # Why nothing can be sent back to these topics.
        self._closed: dict[str, str] = {}

    async def run(self) -> ReplayCounts:
        """Send them back.

        Raises:
            ReplayError: another replay of the same selection is under way, or the selection can't
                be remembered.
            aiokafka.errors.KafkaError: the brokers can't be asked, or don't take a record.
        """
        await self._find_closed()
        reading = TopicReader(self._connection, self._plan.group_id, self._note_damage)
        async with reading as reader, BatchProducer(self._connection) as outlet:
            await self._through(reader, outlet)
        return self._counts

    async def rehearse(self) -> ReplayCounts:
        """Send nothing and commit nothing; say what would be sent, and what the worker would make
        of it now.
        """
        await self._find_closed()
        async with TopicReader(self._connection, on_damage=self._note_damage) as reader:
            await self._through(reader, None)
        return self._counts

    async def _find_closed(self) -> None:
        """Leave out what comes from topics that can't be written now, and count it: it stays
        replayable.

        Its own pass, before anything is sent: which topics are left out is a part of the selection
        that positions stand for.
        """
        plan = self._plan
        waiting: Counter[str] = Counter()
        async with TopicReader(self._connection, on_damage=lambda place, detail: None) as reader:
            spans = await reader.spans(plan.topics, plan.selection.since)
            partitions = [span.partition for span in spans]
            accounts = await sent_by_replays(reader, plan.group_prefix, partitions)
            settled = await settled_by_worker(reader, plan.worker_group_id, partitions)
            # What lies below the position of a replay of all topics was sent.
            committed = await reader.committed(plan.group_id, partitions)
            rest = [
                Span(span.partition, min(max(span.begin, at.offset), span.end), span.end)
                if at is not None
                else span
                for span, at in ((span, committed[span.partition]) for span in spans)
            ]
            async for partition, records in reader.chunks(rest):
                for letter in (read(partition, record, self._applications) for record in records):
                    is_done = settled[partition].names(letter.place.offset) or any(
                        one.has_sent(letter) for one in accounts[partition]
                    )
                    if letter.reason != FOREIGN and letter.origin is not None and not is_done:
                        waiting[letter.origin.topic] += plan.selection.matches(letter)
        self._closed = await why_closed(
            self._connection, [topic for topic, count in waiting.items() if count]
        )
        for topic, why in self._closed.items():
            self._counts.refused[why] += waiting[topic]
        selection = structs.replace(plan.selection, without_origins=tuple(sorted(self._closed)))
        if len(selection.text()) > METADATA_CHARACTERS_MAX:
            raise ReplayError(
                "the selection is too long to be remembered; name fewer applications, or make "
                "the topics that are gone"
            )
        self._plan = replace(plan, selection=selection)

    def _note_damage(self, place: Place, detail: str) -> None:
        self._counts.refused["can't be read"] += 1

    async def _through(self, reader: TopicReader, outlet: BatchProducer | None) -> None:
        plan = self._plan
        spans = await reader.spans(plan.topics, plan.selection.since)
        partitions = [span.partition for span in spans]
        accounts = await sent_by_replays(reader, plan.group_prefix, partitions)
        settled = await settled_by_worker(reader, plan.worker_group_id, partitions)
        committed = await reader.committed(plan.group_id, partitions)
        total, done = sum(span.length for span in spans), 0
        for span in spans:
            at = committed[span.partition]
            begin = span.begin if at is None else min(max(span.begin, at.offset), span.end)
            done += begin - span.begin
            position = at
            async for partition, records in reader.chunks(
                [Span(span.partition, begin, span.end)], BATCH_RECORDS
            ):
                letters, following = self._cut(
                    [read(partition, record, self._applications) for record in records],
                    accounts,
                    settled,
                )
                if outlet is not None:
                    position = await self._send(
                        reader, outlet, partition, letters, (position, following)
                    )
                else:
                    await self._judge_all(reader, letters)
                done += following - begin
                begin = following
                self._report(Progress(done, total, self._counts))
                if self._is_full():
                    return

    def _is_full(self) -> bool:
        return self._plan.records_max is not None and self._counts.sent >= self._plan.records_max

    def _cut(
        self,
        letters: Sequence[StoredRecord],
        accounts: Mapping[TopicPartition, Sequence[ReplayedSelection]],
        settled: Mapping[TopicPartition, Settled],
    ) -> tuple[list[StoredRecord], int]:
        """Those of a chunk that are to be sent, as many as the plan allows, and the offset behind
        all that were looked at.
        """
        counts = self._counts
        chosen: list[StoredRecord] = []
        room = None if self._plan.records_max is None else self._plan.records_max - counts.sent
        for letter in letters:
            if room is not None and len(chosen) >= room:
                return chosen, letter.place.offset
            counts.looked_at += 1
            partition = TopicPartition(letter.place.topic, letter.place.partition)
            if letter.origin is not None and letter.origin.topic in self._closed:
                # Counted before.
                continue
            if not self._plan.selection.is_about(letter):
                counts.not_meant += 1
            elif settled[partition].names(letter.place.offset) or any(
                one.has_sent(letter) for one in accounts[partition]
            ):
                counts.sent_before += 1
            elif (why := self._refusal(letter)) is not None:
                counts.refused[why] += 1
            else:
                chosen.append(letter)
        return chosen, letters[-1].place.offset + 1

    def _refusal(self, letter: StoredRecord) -> str | None:
        """Why a letter that is meant can't be sent back; None if nothing stands in the way."""
        if letter.reason == FOREIGN or letter.origin is None:
            return "its headers don't say where it came from"
        if self._plan.selection.has_too_many_replays(letter):
            return f"sent back {self._plan.selection.replays_max} times already"
        return None

    async def _send(
        self,
        reader: TopicReader,
        outlet: BatchProducer,
        partition: TopicPartition,
        letters: Sequence[StoredRecord],
        positions: tuple[Position | None, int],
    ) -> Position:
        """Send a batch, and commit the position behind it once all of it is acknowledged."""
        before, following = positions
        await self._wait_for_rate()
        # Nobody keeps two people from typing the same command.
        if (await reader.committed(self._plan.group_id, [partition]))[partition] != before:
            raise ReplayError(
                f"another replay of this selection is running: it has committed {partition}"
            )
        outgoing = [
            one for one in [await self._outgoing(letter) for letter in letters] if one is not None
        ]
        await outlet.send(outgoing)
        position = Position(following, self._plan.selection.text())
        await reader.commit(partition, position)
        self._rate.take(len(outgoing), self._now().monotonic_seconds)
        self._counts.sent += len(outgoing)
        return position

    async def _judge_all(self, reader: TopicReader, letters: Sequence[StoredRecord]) -> None:
        for letter in letters:
            record = await self._whole(letter)
            if record is None or letter.origin is None:
                continue
            self._counts.verdicts[self._verdict(letter.origin, record)] += 1
            self._counts.sent += 1

    def _verdict(self, origin: Place, record: Record) -> str:
        if origin.topic not in self._judge.routes:
            return NOT_READ
        verdict = self._judge.judge(origin.topic, origin.partition, record, self._now())
        return verdict.reason.value if isinstance(verdict, Rejection) else VALID

    async def _outgoing(self, letter: StoredRecord) -> Outgoing | None:
        record = await self._whole(letter)
        if record is None or letter.origin is None:
            return None
        headers = [*own(record), (REPLAYS, b"%d" % (letter.replays + 1))]
        return Outgoing(letter.origin.topic, record.key, record.value, headers)

    async def _whole(self, letter: StoredRecord) -> Record | None:
        """The record itself; of a shortened letter the original, where its topic still has it."""
        if letter.shortened is None or letter.origin is None:
            return letter.record
        # A reader of its own: the other one stands in the middle of a partition.
        async with TopicReader(self._connection) as reader:
            original = await reader.record(letter.origin)
        if original is not None and letter.shortened.is_of(original):
            return original
        self._counts.refused["shortened, and its original is gone"] += 1
        return None

    async def _wait_for_rate(self) -> None:
        wait = self._rate.free_at - self._now().monotonic_seconds
        if wait > 0:
            await asyncio.sleep(wait)

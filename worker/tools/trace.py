"""Traces a record: what it holds, what the worker does with it, and what happened to it.

Only the topics and the committed positions are read, so the trace ends where they end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.core.model.clock import Now
from worker.core.model.fault import Rejection
from worker.core.model.record import Place, Position, Record, Skipped, TopicPartition
from worker.core.model.row import Row
from worker.core.wire import commit_metadata
from worker.core.wire.record_headers import is_replay
from worker.edges.kafka.reader import Span, TopicReader
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import StoredRecord, read
from worker.tools.validation import DryRun

# Clocks of producers, brokers and workers differ.
CLOCK_MARGIN_MILLISECONDS = 3_600_000


class Presence(StrEnum):
    """Whether the record exists."""

    THERE = "exists"
    NO_TOPIC = "no such partition"
    DELETED = "deleted by the topic's retention"
    NOT_YET = "not written yet"
    RELEASED = "does not exist: compacted, of an aborted transaction, or a transaction marker"


class CommitState(StrEnum):
    """What the group has committed for the record's offset."""

    NOTHING_COMMITTED = "the group has committed nothing for this partition"
    COMMITTED = "settled: its offset is below the committed position"
    BEFORE_FLOOR = "skipped: the group started to read after it"
    HINTED = "settled: the commit metadata names it"
    OUTSTANDING = "not settled: not read yet, or in progress"


@dataclass(frozen=True, slots=True)
class ParkedRecord:
    """A parked copy of the record. Once the worker has settled it, it was redelivered."""

    stored: StoredRecord
    is_settled: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """The result of a trace.

    `verdict` is what the worker does with the record under this configuration, None without a
    record or a route. `judged_at` is the time of that verdict in Unix seconds: when the record was
    written if it is settled, otherwise now.
    """

    place: Place
    presence: Presence
    record: Record | None
    verdict: Row | Rejection | Skipped | None
    judged_at: float
    progress: CommitState
    committed: Position | None
    is_replay: bool
    dead_letters: tuple[StoredRecord, ...]
    parked: tuple[ParkedRecord, ...]

    @property
    def is_settled(self) -> bool:
        """True if the worker has settled the record."""
        return self.progress in (CommitState.COMMITTED, CommitState.HINTED)

    @property
    def summary(self) -> str:
        """What happened to the record, in a sentence."""
        if self.dead_letters:
            last = self.dead_letters[-1]
            return f"It was dead-lettered as {last.reason}: {_shown(last.place)}."
        if self.parked:
            last_parked = self.parked[-1]
            then = (
                "was redelivered from there and settled"
                if last_parked.is_settled
                else "has not been redelivered yet"
            )
            return f"It was parked ({_shown(last_parked.stored.place)}) and {then}."
        if self.presence is not Presence.THERE and not self.is_settled:
            return f"Nothing is known of this record: {self.presence.value}."
        if not self.is_settled:
            return (
                f"It is {self.progress.value}."
                if self.progress is CommitState.OUTSTANDING
                else f"{self.progress.value}."
            )
        if isinstance(self.verdict, Rejection):
            return (
                "It was settled, and would be dead-lettered today. No dead letter names it, "
                "or the dead letter was deleted."
            )
        if isinstance(self.verdict, Skipped):
            return "It was settled, and would be skipped today: it is no event of its route."
        return "It was delivered, or dropped as a duplicate of a delivered event."


async def trace(
    reader: TopicReader, settings: Settings, dry_run: DryRun, place: Place, now: Now
) -> Trace:
    """Trace the record at this address."""
    presence, record = await _presence(reader, place)
    committed = None
    if presence is not Presence.NO_TOPIC:
        partition = TopicPartition(place.topic, place.partition)
        committed = (await reader.committed(settings.kafka.group_id, [partition]))[partition]
    # Unix milliseconds; None without a record or without its time.
    written = record.timestamp if record is not None and record.timestamp > 0 else None
    judged_at = now.unix_seconds
    if written is not None and _is_settled(place.offset, committed):
        judged_at = written / 1000
    route = dry_run.routes.get(place.topic)
    verdict = None
    dead: list[StoredRecord] = []
    parked: list[ParkedRecord] = []
    if route is not None:
        if record is not None:
            at = Now(now.monotonic_seconds, judged_at)
            verdict = dry_run.check(place.topic, place.partition, record, at)
        since = None if written is None else max(0, written - CLOCK_MARGIN_MILLISECONDS)
        dead = await _naming(reader, [route.dead_letter.topic], place, since)
        parked = await _parked(reader, settings, route, place, since)
    return Trace(
        place,
        presence,
        record,
        verdict,
        judged_at,
        _progress(place.offset, committed),
        committed,
        record is not None and is_replay(record),
        tuple(dead),
        tuple(parked),
    )


async def _presence(reader: TopicReader, place: Place) -> tuple[Presence, Record | None]:
    partition = TopicPartition(place.topic, place.partition)
    if partition not in (await reader.partitions({place.topic})).get(place.topic, ()):
        return Presence.NO_TOPIC, None
    (span,) = await reader.spans_of([partition])
    if place.offset < span.begin:
        return Presence.DELETED, None
    if place.offset >= span.end:
        return Presence.NOT_YET, None
    record = await reader.record(place)
    return (Presence.RELEASED if record is None else Presence.THERE), record


def _progress(offset: int, committed: Position | None) -> CommitState:
    if committed is None:
        return CommitState.NOTHING_COMMITTED
    known = commit_metadata.decode(committed.offset, committed.metadata)
    if offset < committed.offset:
        return (
            CommitState.BEFORE_FLOOR
            if known is not None and offset < known.floor
            else CommitState.COMMITTED
        )
    return (
        CommitState.HINTED
        if known is not None and known.covers(offset, committed.offset)
        else CommitState.OUTSTANDING
    )


async def _parked(
    reader: TopicReader, settings: Settings, route: ResolvedRoute, place: Place, since: int | None
) -> list[ParkedRecord]:
    if route.parking_topic is None:
        return []
    found = await _naming(reader, [route.parking_topic], place, since)
    partitions = {TopicPartition(one.place.topic, one.place.partition) for one in found}
    committed = await reader.committed(settings.kafka.group_id, sorted(partitions))
    return [
        ParkedRecord(
            one,
            _is_settled(
                one.place.offset, committed[TopicPartition(one.place.topic, one.place.partition)]
            ),
        )
        for one in found
    ]


def _is_settled(offset: int, committed: Position | None) -> bool:
    return _progress(offset, committed) in (CommitState.COMMITTED, CommitState.HINTED)


async def _naming(
    reader: TopicReader, topics: Sequence[str], place: Place, since: int | None
) -> list[StoredRecord]:
    """The stored records whose headers name this address as their origin, the oldest first."""
    spans: list[Span] = await reader.spans(topics, since)
    found = []
    async for partition, records in reader.mixed(spans):
        for record in records:
            # Only the few records that may match are read in full.
            if any(value == b"%d" % place.offset for _, value in record.headers):
                stored = read(partition, record)
                if stored.origin == place:
                    found.append(stored)
    return sorted(found, key=lambda one: one.record.timestamp)


async def origin_of(reader: TopicReader, settings: Settings, place: Place) -> Place | None:
    """The origin of a record of a dead-letter topic; None for any other record."""
    if place.topic not in {route.dead_letter.topic for route in settings.resolved_routes()}:
        return None
    record = await reader.record(place)
    return (
        None
        if record is None
        else read(TopicPartition(place.topic, place.partition), record).origin
    )


def _shown(place: Place) -> str:
    return f"{place.topic} {place.partition} {place.offset}"

"""The story of one record: what it is, what the worker makes of it, and what has become of it as
far as the topics tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.core.model.clock import Now
from worker.core.model.fault import Rejection
from worker.core.model.record import Place, Position, Record, TopicPartition
from worker.core.model.row import Row
from worker.core.wire import commit_metadata
from worker.core.wire.record_headers import is_replay
from worker.edges.kafka.reader import Span, TopicReader
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import StoredRecord, read
from worker.tools.dry_run import DryRun

# Clocks of producers, brokers and workers differ.
CLOCK_MARGIN_MILLISECONDS = 3_600_000


class Presence(StrEnum):
    """Whether the record is there."""

    THERE = "exists"
    NO_TOPIC = "no such partition"
    DELETED = "deleted by the topic's retention"
    NOT_YET = "not written yet"
    RELEASED = "does not exist: compacted, of an aborted transaction, or a transaction marker"


class Progress(StrEnum):
    """Where the group stands with it."""

    NOTHING_COMMITTED = "the group has committed nothing for this partition"
    COMMITTED = "settled: its offset is below the committed position"
    BEFORE_FLOOR = "skipped: the group started to read after it"
    HINTED = "settled: the commit metadata names it"
    OUTSTANDING = "not settled: not read yet, or in progress"


@dataclass(frozen=True, slots=True)
class Ending:
    """A letter that names the record, and whether the worker has settled that letter too: a parked
    one then came home.
    """

    letter: StoredRecord
    is_settled: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """All that could be found out.

    `verdict` is what the worker makes of the record under today's configuration, None without a
    record or a route; `judged_at` the time (Unix seconds) as of which: when the record was written,
    where it is settled, else now.
    """

    place: Place
    presence: Presence
    record: Record | None
    verdict: Row | Rejection | None
    judged_at: float
    progress: Progress
    committed: Position | None
    is_replay: bool
    dead_letters: tuple[StoredRecord, ...]
    parked: tuple[Ending, ...]

    @property
    def is_settled(self) -> bool:
        """True if the worker is done with it."""
        return self.progress in (Progress.COMMITTED, Progress.HINTED)

    @property
    def summary(self) -> str:
        """The ending in a sentence."""
        if self.dead_letters:
            last = self.dead_letters[-1]
            return f"It was dead-lettered as {last.reason}: {_shown(last.place)}."
        if self.parked:
            last_parked = self.parked[-1]
            home = (
                "was redelivered from there and settled"
                if last_parked.is_settled
                else "has not been redelivered yet"
            )
            return f"It was parked ({_shown(last_parked.letter.place)}) and {home}."
        if self.presence is not Presence.THERE and not self.is_settled:
            return f"Nothing is known of this record: {self.presence.value}."
        if not self.is_settled:
            return (
                f"It is {self.progress.value}."
                if self.progress is Progress.OUTSTANDING
                else f"{self.progress.value}."
            )
        if isinstance(self.verdict, Rejection):
            return (
                "It was settled, and would be dead-lettered today. No dead letter names it, "
                "or the dead letter was deleted."
            )
        return "It was delivered, or dropped as a duplicate of a delivered event."


async def tell(
    reader: TopicReader, settings: Settings, judge: DryRun, place: Place, now: Now
) -> Trace:
    """Find out about the record at this place."""
    partition = TopicPartition(place.topic, place.partition)
    presence, record = await _look(reader, place)
    committed: Mapping[TopicPartition, Position | None] = (
        {}
        if presence is Presence.NO_TOPIC
        else await reader.committed(settings.kafka.group_id, [partition])
    )
    at = committed.get(partition)
    progress = _progress(place.offset, at)
    route = judge.routes.get(place.topic)
    is_settled = progress in (Progress.COMMITTED, Progress.HINTED)
    judged_at = (
        record.timestamp / 1000
        if record is not None and is_settled and record.timestamp > 0
        else now.unix_seconds
    )
    verdict = None
    if record is not None and route is not None:
        verdict = judge.judge(
            place.topic, place.partition, record, Now(now.monotonic_seconds, judged_at)
        )
    dead: list[StoredRecord] = []
    parked: list[Ending] = []
    if route is not None:
        is_dated = record is not None and record.timestamp > 0
        since = (
            max(0, record.timestamp - CLOCK_MARGIN_MILLISECONDS)
            if record is not None and is_dated
            else None
        )
        dead = await _naming(reader, [route.dead_letter.topic], place, since)
        parked = await _parked(reader, settings, route, place, since)
    replayed = record is not None and is_replay(record)
    return Trace(
        place,
        presence,
        record,
        verdict,
        judged_at,
        progress,
        at,
        replayed,
        tuple(dead),
        tuple(parked),
    )


async def _look(reader: TopicReader, place: Place) -> tuple[Presence, Record | None]:
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


def _progress(offset: int, committed: Position | None) -> Progress:
    if committed is None:
        return Progress.NOTHING_COMMITTED
    known = commit_metadata.decode(committed.offset, committed.metadata)
    if offset < committed.offset:
        return (
            Progress.BEFORE_FLOOR
            if known is not None and offset < known.floor
            else Progress.COMMITTED
        )
    return (
        Progress.HINTED
        if known is not None and known.covers(offset, committed.offset)
        else Progress.OUTSTANDING
    )


async def _parked(
    reader: TopicReader, settings: Settings, route: ResolvedRoute, place: Place, since: int | None
) -> list[Ending]:
    if route.parking_topic is None:
        return []
    found = await _naming(reader, [route.parking_topic], place, since)
    partitions = {TopicPartition(one.place.topic, one.place.partition) for one in found}
    committed = await reader.committed(settings.kafka.group_id, sorted(partitions))
    return [
        Ending(
            one,
            _is_settled(
                one.place.offset, committed[TopicPartition(one.place.topic, one.place.partition)]
            ),
        )
        for one in found
    ]


def _is_settled(offset: int, committed: Position | None) -> bool:
    return _progress(offset, committed) in (Progress.COMMITTED, Progress.HINTED)


async def _naming(
    reader: TopicReader, topics: Sequence[str], place: Place, since: int | None
) -> list[StoredRecord]:
    """The letters whose headers name this place as their origin, the oldest first."""
    spans: list[Span] = await reader.spans(topics, since)
    found = []
    async for partition, records in reader.mixed(spans):
        for record in records:
            # The whole is read only of the few that can be it.
            if any(value == b"%d" % place.offset for _, value in record.headers):
                letter = read(partition, record)
                if letter.origin == place:
                    found.append(letter)
    return sorted(found, key=lambda one: one.record.timestamp)


async def origin_of(reader: TopicReader, settings: Settings, place: Place) -> Place | None:
    """Where a record came from that lies in a dead-letter topic; None for any other."""
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

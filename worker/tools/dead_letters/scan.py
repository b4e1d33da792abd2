"""Selects, finds and counts stored records: dead letters and parked records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from heapq import heappush, heappushpop
from typing import NamedTuple

import msgspec

from worker.core.intake.paths import Path, parse_path
from worker.core.model.record import Record
from worker.edges.kafka.reader import TopicReader
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import StoredRecord, read

# Length of the digest in the name of a consumer group.
DIGEST_BYTES = 5
# Takes the number of offsets done, and of all offsets.
ReportProgress = Callable[[int, int], None]


class StoredKind(StrEnum):
    """The two kinds of stored records."""

    DEAD_LETTERS = "dead letters"
    PARKED = "parked records"


def stored_topics(
    settings: Settings, kind: StoredKind, only: Sequence[str] = ()
) -> tuple[str, ...]:
    """The topics that hold records of this kind, each once; `only` replaces them."""
    if only:
        return tuple(dict.fromkeys(only))
    if kind is StoredKind.DEAD_LETTERS:
        return tuple(dict.fromkeys(route.dead_letter.topic for route in settings.resolved_routes()))
    # Also where parking is disabled: records that were parked before are still in the topic, and no
    # worker redelivers them.
    return tuple(
        dict.fromkeys(
            route.parking.topic or settings.parking.topic or f"{route.topic}.parked"
            for route in settings.routes
        )
    )


def redelivered_topics(settings: Settings, topics: Sequence[str]) -> tuple[str, ...]:
    """The topics among these that a worker with this configuration reads itself."""
    consumed = {route.topic for route in settings.resolved_routes()}
    return tuple(topic for topic in topics if topic in consumed)


def ordered_topics(settings: Settings) -> frozenset[str]:
    """The source topics with records of which a newer one overwrites an older one."""
    return frozenset(
        route.topic
        for route in settings.resolved_routes()
        if route.ordered_resources and route.parked_from is None
    )


def named_applications(settings: Settings) -> dict[str, int | Path]:
    """By topic, the application that a route sets, or the path of a field other than the usual."""
    applications: dict[str, int | Path] = {}
    for route in settings.resolved_routes():
        if "application_id" in route.constants:
            applications[route.topic] = int(route.constants["application_id"])
        elif "application_id" in route.fields:
            applications[route.topic] = parse_path(route.fields["application_id"])
    return applications


class RecordSelection(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Conditions on stored records; an empty condition accepts every record.

    Times are Unix milliseconds of when the stored record was written: `since` is inclusive, `until`
    is not. `replays_max` excludes records that were replayed this often. `without_origins` excludes
    records of these source topics: a replay that can't write to them replays only the others, and
    its position covers only the others.
    """

    reasons: tuple[str, ...] = ()
    applications: tuple[int, ...] = ()
    since: int | None = None
    until: int | None = None
    replays_max: int | None = None
    without_origins: tuple[str, ...] = ()

    def matches(self, stored: StoredRecord) -> bool:
        """True if this record meets every condition."""
        return self.matches_content(stored) and not self.has_too_many_replays(stored)

    def matches_content(self, stored: StoredRecord) -> bool:
        """True if this record meets every condition, `replays_max` aside."""
        if self.reasons and stored.reason not in self.reasons:
            return False
        if self.applications and stored.application_id not in self.applications:
            return False
        if stored.origin is not None and stored.origin.topic in self.without_origins:
            return False
        timestamp = stored.record.timestamp
        return (self.since is None or timestamp >= self.since) and (
            self.until is None or timestamp < self.until
        )

    def has_too_many_replays(self, stored: StoredRecord) -> bool:
        """True if this record was replayed `replays_max` times already."""
        return self.replays_max is not None and stored.replays >= self.replays_max

    def text(self) -> str:
        """The canonical text of this selection, kept as the metadata of a replay's commit."""
        ordered = msgspec.structs.replace(
            self,
            reasons=tuple(sorted(set(self.reasons))),
            applications=tuple(sorted(set(self.applications))),
        )
        return msgspec.json.encode(ordered).decode()

    def digest(self) -> str:
        """A short name that is the same for equal selections."""
        return blake2b(self.text().encode(), digest_size=DIGEST_BYTES).hexdigest()


_decoder = msgspec.json.Decoder(RecordSelection)


def parse_selection(text: str) -> RecordSelection | None:
    """The selection that this text describes; None for any other text."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return None


class Query(NamedTuple):
    """The topics to scan, and the records to look for."""

    topics: Sequence[str]
    selection: RecordSelection


async def scan(
    reader: TopicReader,
    settings: Settings,
    query: Query,
    report: ReportProgress,
    last_offsets: int | None = None,
) -> AsyncIterator[StoredRecord]:
    """The selected records. `last_offsets` limits the scan to the end of each partition."""
    topics, selection = query
    applications = named_applications(settings)
    spans = await reader.spans(topics, selection.since)
    if last_offsets is not None:
        spans = [replace(span, begin=max(span.begin, span.end - last_offsets)) for span in spans]
    total = sum(span.length for span in spans)
    remaining = {span.partition: span.length for span in spans}
    ends = {span.partition: span.end for span in spans}
    async for partition, records in reader.mixed(spans):
        for record in records:
            stored = read(partition, record, applications)
            if selection.matches(stored):
                yield stored
        remaining[partition] = ends[partition] - records[-1].offset - 1
        report(total - sum(remaining.values()), total)


async def newest(
    reader: TopicReader, settings: Settings, query: Query, count: int, report: ReportProgress
) -> list[StoredRecord]:
    """The newest selected records, the newest first."""
    selection = query.selection
    is_unfiltered = not selection.reasons and not selection.applications and selection.until is None
    found: list[tuple[int, int, StoredRecord]] = []
    number = 0
    # Without a filter the last offsets of each partition are enough.
    async for stored in scan(reader, settings, query, report, count if is_unfiltered else None):
        number += 1
        entry = (stored.record.timestamp, number, stored)
        if len(found) < count:
            heappush(found, entry)
        else:
            heappushpop(found, entry)
    return [stored for _, _, stored in sorted(found, reverse=True)]


async def source_record(reader: TopicReader, stored: StoredRecord) -> Record | None:
    """The source record of a shortened dead letter; None if it no longer exists.

    None for every other stored record too.
    """
    if stored.shortened is None or stored.origin is None:
        return None
    record = await reader.record(stored.origin)
    return record if record is not None and stored.shortened.is_start_of(record) else None


@dataclass(slots=True)
class Statistics:
    """Counts of stored records.

    An application that can't be read from the value counts as `unknown`.
    """

    records: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_application: Counter[str] = field(default_factory=Counter)
    by_day: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, stored: StoredRecord) -> None:
        """Count a record."""
        application = "unknown" if stored.application_id is None else str(stored.application_id)
        self.records += 1
        self.by_reason[stored.reason] += 1
        self.by_application[application] += 1
        self.by_day[stored.day][stored.reason] += 1

    def document(self) -> dict[str, object]:
        """The counts as a JSON document."""
        return {
            "records": self.records,
            "by_reason": dict(self.by_reason.most_common()),
            "by_application": dict(self.by_application.most_common()),
            "by_day": {
                day: dict(counts.most_common()) for day, counts in sorted(self.by_day.items())
            },
        }

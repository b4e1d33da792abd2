"""Finds and counts the stored records of a configuration: dead letters and parked records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import heappush, heappushpop
from typing import NamedTuple

from worker.core.intake.paths import Path, parse_path
from worker.core.model.record import Record
from worker.edges.kafka.reader import TopicReader
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import StoredRecord, read
from worker.tools.dead_letters.selection import Selection

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


class Query(NamedTuple):
    """The topics to scan, and the records to look for."""

    topics: Sequence[str]
    selection: Selection


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

"""Looks through topics of letters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from heapq import heappush, heappushpop
from typing import NamedTuple

from worker.core.model.record import Record
from worker.edges.kafka.reader import TopicReader
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import StoredRecord, read
from worker.tools.dead_letters.selection import Selection
from worker.tools.dead_letters.topics import named_applications

# Done, total: offsets.
Report = Callable[[int, int], None]


class Where(NamedTuple):
    """What is looked through, and for what."""

    topics: Sequence[str]
    selection: Selection


async def letters(
    reader: TopicReader, settings: Settings, where: Where, report: Report, newest: int | None = None
) -> AsyncIterator[StoredRecord]:
    """Those of the selection; of each partition the last `newest` offsets only, where that is
    given.
    """
    topics, selection = where
    applications = named_applications(settings)
    spans = await reader.spans(topics, selection.since)
    if newest is not None:
        spans = [replace(span, begin=max(span.begin, span.end - newest)) for span in spans]
    total = sum(span.length for span in spans)
    left = {span.partition: span.length for span in spans}
    ends = {span.partition: span.end for span in spans}
    async for partition, records in reader.mixed(spans):
        for record in records:
            letter = read(partition, record, applications)
            if selection.matches(letter):
                yield letter
        left[partition] = ends[partition] - records[-1].offset - 1
        report(total - sum(left.values()), total)


async def newest_dead_letters(
    reader: TopicReader, settings: Settings, where: Where, count: int, report: Report
) -> list[StoredRecord]:
    """The newest letters of the selection, the newest first."""
    selection = where.selection
    everything = not selection.reasons and not selection.applications and selection.until is None
    found: list[tuple[int, int, StoredRecord]] = []
    number = 0
    # Where nothing is filtered out the ends of the partitions are enough.
    async for letter in letters(
        reader, settings, where, report, newest=count if everything else None
    ):
        number += 1
        entry = (letter.record.timestamp, number, letter)
        if len(found) < count:
            heappush(found, entry)
        else:
            heappushpop(found, entry)
    return [letter for _, _, letter in sorted(found, reverse=True)]


async def originals(reader: TopicReader, found: Sequence[StoredRecord]) -> list[Record | None]:
    """Of each letter that is shortened the whole record, as far as its topic still has it; None for
    all others.
    """
    return [await _original(reader, letter) for letter in found]


async def _original(reader: TopicReader, letter: StoredRecord) -> Record | None:
    if letter.shortened is None or letter.origin is None:
        return None
    record = await reader.record(letter.origin)
    return record if record is not None and letter.shortened.is_of(record) else None

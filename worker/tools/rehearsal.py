"""Rehearses a worker with this configuration: it does everything except sending.

It uses the real intake, deduplication and batching of each route; every batch counts as delivered
when it is sealed. A rehearsal can't know what the API would refuse, what was delivered before its
first record, and how `linger_seconds` would cut batches at the pace of live records: it reads as
fast as it can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.core.batching.batcher import Sealed
from worker.core.model.clock import Now
from worker.core.model.record import NO_EPOCH, Assignment, Position, Record, TopicPartition
from worker.core.wire import commit_metadata
from worker.edges.kafka.reader import Span, TopicReader
from worker.settings.schema import Settings
from worker.tools.validation import DryRun, by_content

# The daily limit of AppMetrica's free plan for custom events of the SDK and the Post API together.
# Source: the documentation's page "Restrictions".
CUSTOM_EVENTS_PER_DAY = 3_250_000
DAY_SECONDS = 86_400
# A shorter span gives no daily rate.
SPAN_SECONDS_MIN = 60
SAMPLE_LINES = 3


@dataclass(slots=True)
class Traffic:
    """What would be sent for a resource and application.

    `first` and `last` are the times, in Unix milliseconds, when the first and the last record were
    written.
    """

    rows: int = 0
    body_bytes: int = 0
    requests: int = 0
    first: int | None = None
    last: int | None = None
    sample: bytes = b""

    @property
    def rows_per_day(self) -> float | None:
        """Rows per day at the pace of the producers; None for a span that is too short."""
        if (
            self.first is None
            or self.last is None
            or self.last - self.first < SPAN_SECONDS_MIN * 1000
        ):
            return None
        return self.rows / ((self.last - self.first) / 1000) * DAY_SECONDS


@dataclass(slots=True)
class Rehearsed:
    """The result of a rehearsal. `traffic` is by resource and application."""

    records: int = 0
    settled_before: int = 0
    skipped: int = 0
    duplicates: int = 0
    duplicates_by_content: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    flushes: Counter[str] = field(default_factory=Counter)
    traffic: dict[tuple[str, int], Traffic] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of rows that would be sent."""
        return sum(one.rows for one in self.traffic.values())

    def document(self) -> dict[str, object]:
        """The result as a JSON document."""
        return {
            "records": self.records,
            "rows": self.rows,
            "bytes": sum(one.body_bytes for one in self.traffic.values()),
            "requests": sum(one.requests for one in self.traffic.values()),
            "duplicates": self.duplicates,
            "duplicates_by_content": self.duplicates_by_content,
            "settled_before": self.settled_before,
            "skipped": self.skipped,
            "rejected": dict(self.rejected.most_common()),
            "flushes": dict(self.flushes.most_common()),
            "custom_events_per_day_max": CUSTOM_EVENTS_PER_DAY,
            "traffic": [
                {
                    "resource": resource,
                    "application_id": application_id,
                    "rows": one.rows,
                    "bytes": one.body_bytes,
                    "requests": one.requests,
                    "rows_per_day": None if one.rows_per_day is None else round(one.rows_per_day),
                    "sample": one.sample.decode(),
                }
                for (resource, application_id), one in sorted(self.traffic.items())
            ],
        }


class Rehearsal:
    """One rehearsal.

    Args:
        dry_run: the routes.
        committed: the group's positions; records that it has settled are skipped.
    """

    def __init__(
        self, dry_run: DryRun, committed: Mapping[TopicPartition, Position | None]
    ) -> None:
        self._dry_run = dry_run
        self._metadata = {
            partition: commit_metadata.decode(at.offset, at.metadata)
            for partition, at in committed.items()
            if at is not None
        }
        self._committed = {
            partition: at.offset for partition, at in committed.items() if at is not None
        }
        self._assignments: set[Assignment] = set()
        self.found = Rehearsed()

    def receive(self, partition: TopicPartition, records: Sequence[Record], now: Now) -> None:
        """Pass a chunk through intake, window and batcher."""
        assignment = Assignment(*partition, NO_EPOCH)
        self._assignments.add(assignment)
        parts, found = self._dry_run.parts(partition.topic), self.found
        fresh = [record for record in records if not self._is_settled(partition, record.offset)]
        found.records += len(records)
        found.settled_before += len(records) - len(fresh)
        selected, skipped = parts.intake.select(fresh)
        found.skipped += len(skipped)
        rows, rejections = parts.intake.read(assignment, selected, now)
        found.rejected.update(rejection.reason.value for rejection in rejections)
        admission = parts.window.admit(rows, now.monotonic_seconds)
        found.duplicates += len(rows) - len(admission.fresh)
        found.duplicates_by_content += by_content(rows) - by_content(admission.fresh)
        sealed = parts.batcher.add(admission.fresh, now.monotonic_seconds) + parts.batcher.due(
            now.monotonic_seconds
        )
        self._send(partition.topic, sealed, now)

    def end(self, now: Now) -> None:
        """Seal the open batches, as a drain does."""
        for topic in {assignment.topic for assignment in self._assignments}:
            self._send(topic, self._dry_run.parts(topic).batcher.drain(self._assignments), now)

    def _is_settled(self, partition: TopicPartition, offset: int) -> bool:
        metadata = self._metadata.get(partition)
        position = self._committed.get(partition, 0)
        return offset < position or (metadata is not None and metadata.covers(offset, position))

    def _send(self, topic: str, sealed: Sequence[Sealed], now: Now) -> None:
        for one in sealed:
            batch = one.batch
            window = self._dry_run.parts(topic).window
            window.deliver([row.key for row in batch.rows], now.monotonic_seconds)
            self.found.flushes[one.trigger.value] += 1
            key = (batch.destination.resource, batch.destination.application_id)
            traffic = self.found.traffic.setdefault(key, Traffic())
            traffic.rows += len(batch.rows)
            traffic.body_bytes += batch.body_bytes
            traffic.requests += 1
            if not traffic.sample:
                traffic.sample = b"".join(
                    batch.body().splitlines(keepends=True)[: SAMPLE_LINES + 1]
                )
            times = [row.record.timestamp for row in batch.rows if row.record.timestamp > 0]
            if times:
                traffic.first = min(times) if traffic.first is None else min(traffic.first, *times)
                traffic.last = max(times) if traffic.last is None else max(traffic.last, *times)


@dataclass(frozen=True, slots=True)
class RehearsalStart:
    """Where to start: at a time, at the earliest offset, or at the committed position.

    `since` is in Unix milliseconds.
    """

    since: int | None = None
    is_earliest: bool = False


async def rehearse(
    reader: TopicReader,
    settings: Settings,
    start: RehearsalStart,
    clock: Callable[[], Now],
    bounds: tuple[float, int | None],
    report: Callable[[int, int, Rehearsed], None],
) -> Rehearsed:
    """Rehearse the delivery of what is in the topics now.

    Args:
        reader: reads the topics.
        settings: the configuration.
        start: where to start.
        clock: reads the clocks.
        bounds: the maximum duration in seconds, and the maximum number of records.
        report: takes the records done, the total, and the result so far.
    """
    seconds_max, records_max = bounds
    dry_run = DryRun(settings)
    spans = await reader.spans(list(dry_run.routes), start.since)
    is_committed = start.since is None and not start.is_earliest
    committed = (
        await reader.committed(settings.kafka.group_id, [span.partition for span in spans])
        if is_committed
        else {}
    )
    spans = [_from_committed(span, committed.get(span.partition)) for span in spans]
    total, ends_at = sum(span.length for span in spans), clock().monotonic_seconds + seconds_max
    rehearsal = Rehearsal(dry_run, committed)
    async for partition, records in reader.mixed(spans):
        rehearsal.receive(partition, records, clock())
        report(rehearsal.found.records, total, rehearsal.found)
        if clock().monotonic_seconds > ends_at or (
            records_max is not None and rehearsal.found.records >= records_max
        ):
            break
    rehearsal.end(clock())
    return rehearsal.found


def _from_committed(span: Span, at: Position | None) -> Span:
    return (
        span
        if at is None
        else Span(span.partition, min(max(span.begin, at.offset), span.end), span.end)
    )

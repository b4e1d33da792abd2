"""What a worker with this configuration would send, found out by doing all of it but the sending.

The real intake, deduplication and batching of each route; every batch counts as delivered when it
is sealed. What a rehearsal can't see: what the API would refuse, what was delivered before the
place where it starts to read, and how batches would be cut by `linger_seconds` at the pace of live
records: it reads as fast as it can.
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
from worker.tools.dry_run import DryRun

# What AppMetrica's free plan takes of custom events a day, those of the SDK and of the Post API
# together. Source: the documentation's page "Restrictions".
CUSTOM_EVENTS_PER_DAY = 3_250_000
DAY_SECONDS = 86_400
# Of a shorter span no daily rate can be told.
SPAN_SECONDS_MIN = 60
SAMPLE_LINES = 3


@dataclass(slots=True)
class Traffic:
    """What one resource and application would be sent.

    Times in Unix milliseconds: when its records were written.
    """

    rows: int = 0
    body_bytes: int = 0
    requests: int = 0
    first: int | None = None
    last: int | None = None
    sample: bytes = b""

    @property
    def rows_per_day(self) -> float | None:
        """The rows of a day, at the pace at which the records were written; None where that can't
        be told.
        """
        if (
            self.first is None
            or self.last is None
            or self.last - self.first < SPAN_SECONDS_MIN * 1000
        ):
            return None
        return self.rows / ((self.last - self.first) / 1000) * DAY_SECONDS


@dataclass(slots=True)
class Rehearsed:
    """What has been found out. `traffic` is by resource and application."""

    records: int = 0
    settled_before: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    flushes: Counter[str] = field(default_factory=Counter)
    traffic: dict[tuple[str, int], Traffic] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows would be sent."""
        return sum(one.rows for one in self.traffic.values())

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "records": self.records,
            "rows": self.rows,
            "bytes": sum(one.body_bytes for one in self.traffic.values()),
            "requests": sum(one.requests for one in self.traffic.values()),
            "duplicates": self.duplicates,
            "settled_before": self.settled_before,
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
    """One run.

    Args:
        judge: the routes.
        committed: where the group stands; records that it has settled are passed over. Empty: none
            is.
    """

    def __init__(self, judge: DryRun, committed: Mapping[TopicPartition, Position | None]) -> None:
        self._judge = judge
        self._hints = {
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
        """Take a chunk through intake, window and batcher."""
        assignment = Assignment(*partition, NO_EPOCH)
        self._assignments.add(assignment)
        parts, found = self._judge.parts(partition.topic), self.found
        fresh = [record for record in records if not self._is_settled(partition, record.offset)]
        found.records += len(records)
        found.settled_before += len(records) - len(fresh)
        rows, rejections = parts.intake.read(assignment, fresh, now)
        found.rejected.update(rejection.reason.value for rejection in rejections)
        admission = parts.window.admit(rows, now.monotonic_seconds)
        found.duplicates += len(rows) - len(admission.fresh)
        sealed = parts.batcher.add(admission.fresh, now.monotonic_seconds) + parts.batcher.due(
            now.monotonic_seconds
        )
        self._send(partition.topic, sealed, now)

    def end(self, now: Now) -> None:
        """Seal what is open, as a drain would."""
        for topic in {assignment.topic for assignment in self._assignments}:
            self._send(topic, self._judge.parts(topic).batcher.drain(self._assignments), now)

    def _is_settled(self, partition: TopicPartition, offset: int) -> bool:
        known = self._hints.get(partition)
        position = self._committed.get(partition, 0)
        return offset < position or (known is not None and known.covers(offset, position))

    def _send(self, topic: str, sealed: Sequence[Sealed], now: Now) -> None:
        for one in sealed:
            batch = one.batch
            self._judge.parts(topic).window.deliver(batch.rows, now.monotonic_seconds)
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
class From:
    """Where to begin.

    `since` in Unix milliseconds; None: where the group stands, or with `is_earliest` at the
    beginning.
    """

    since: int | None = None
    is_earliest: bool = False


async def rehearse(
    reader: TopicReader,
    settings: Settings,
    start: From,
    clock: Callable[[], Now],
    bounds: tuple[float, int | None],
    report: Callable[[int, int, Rehearsed], None],
) -> Rehearsed:
    """Read what the topics hold now, for so many seconds and so many records at most."""
    seconds_max, records_max = bounds
    judge = DryRun(settings)
    spans = await reader.spans(list(judge.routes), start.since)
    is_committed = start.since is None and not start.is_earliest
    committed = (
        await reader.committed(settings.kafka.group_id, [span.partition for span in spans])
        if is_committed
        else {}
    )
    spans = [_from_committed(span, committed.get(span.partition)) for span in spans]
    total, ends_at = sum(span.length for span in spans), clock().monotonic_seconds + seconds_max
    rehearsal = Rehearsal(judge, committed)
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

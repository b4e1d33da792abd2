"""How far the worker's group is behind, as the brokers know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.model.record import TopicPartition
from worker.core.wire import commit_metadata
from worker.edges.kafka.reader import TopicReader
from worker.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition.

    `committed` None: nothing yet. `hinted` counts offsets above it that are settled already.
    """

    partition: TopicPartition
    begin: int
    end: int
    committed: int | None
    hinted: int

    @property
    def position(self) -> int:
        """What is committed, or without that the first offset that is there."""
        return self.begin if self.committed is None else self.committed

    @property
    def lag(self) -> int:
        """Offsets between the position and the end."""
        return max(0, self.end - self.position)

    @property
    def lost(self) -> int:
        """Offsets that were deleted before they were committed."""
        return 0 if self.committed is None else max(0, self.begin - self.committed)

    def document(self) -> dict[str, object]:
        """For machines."""
        return {
            "topic": self.partition.topic,
            "partition": self.partition.partition,
            "begin": self.begin,
            "end": self.end,
            "committed": self.committed,
            "settled_above": self.hinted,
            "lag": self.lag,
            "lost": self.lost,
        }


async def measure(reader: TopicReader, settings: Settings) -> tuple[list[PartitionLag], list[str]]:
    """Every partition of the routes' topics, those of parking topics too; and the topics that don't
    exist.
    """
    topics = [route.topic for route in settings.resolved_routes()]
    found = await reader.partitions(topics)
    partitions = [partition for topic in topics for partition in found.get(topic, ())]
    # First the positions: an end that is read later can't lie below them.
    committed = await reader.committed(settings.kafka.group_id, partitions)
    lags = []
    for span in await reader.spans_of(partitions):
        at = committed[span.partition]
        known = commit_metadata.decode(at.offset, at.metadata) if at is not None else None
        hinted = sum(end - start for start, end in known.settled) if known is not None else 0
        lags.append(
            PartitionLag(
                span.partition, span.begin, span.end, None if at is None else at.offset, hinted
            )
        )
    return lags, [topic for topic in topics if topic not in found]


@dataclass(frozen=True, slots=True)
class Trend:
    """How the whole lag changes: offsets committed and written a second between two
    measurements.
    """

    committed_per_second: float
    written_per_second: float
    lag: int

    @property
    def seconds_left(self) -> float | None:
        """When there is nothing left, at this rate; None for never."""
        gained = self.committed_per_second - self.written_per_second
        return self.lag / gained if gained > 0 else None


def trend(before: Sequence[PartitionLag], after: Sequence[PartitionLag], seconds: float) -> Trend:
    """What has happened between two measurements."""
    old = {one.partition: one for one in before}
    committed = written = 0
    for one in after:
        then = old.get(one.partition)
        if then is not None:
            committed += one.position - then.position
            written += one.end - then.end
    return Trend(max(0, committed) / seconds, written / seconds, sum(one.lag for one in after))

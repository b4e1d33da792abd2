"""Measures the lag of the worker's group, as the brokers report it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.model.record import TopicPartition
from worker.core.wire import commit_metadata
from worker.edges.kafka.reader import TopicReader
from worker.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The positions of a partition.

    `committed` None: no position is committed. `settled_above`: offsets above the committed
    position that are settled already.
    """

    partition: TopicPartition
    begin: int
    end: int
    committed: int | None
    settled_above: int

    @property
    def position(self) -> int:
        """The committed position, or the first offset that exists."""
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
        """The positions as a JSON document."""
        return {
            "topic": self.partition.topic,
            "partition": self.partition.partition,
            "begin": self.begin,
            "end": self.end,
            "committed": self.committed,
            "settled_above": self.settled_above,
            "lag": self.lag,
            "lost": self.lost,
        }


async def measure(reader: TopicReader, settings: Settings) -> tuple[list[PartitionLag], list[str]]:
    """The lag of every partition of the routes' topics, and the topics that don't exist."""
    topics = [route.topic for route in settings.resolved_routes()]
    found = await reader.partitions(topics)
    partitions = [partition for topic in topics for partition in found.get(topic, ())]
    # The committed positions first: an end that is read later can't be below them.
    committed = await reader.committed(settings.kafka.group_id, partitions)
    lags = []
    for span in await reader.spans_of(partitions):
        at = committed[span.partition]
        known = commit_metadata.decode(at.offset, at.metadata) if at is not None else None
        settled_above = sum(end - start for start, end in known.settled) if known is not None else 0
        lags.append(
            PartitionLag(
                span.partition,
                span.begin,
                span.end,
                None if at is None else at.offset,
                settled_above,
            )
        )
    return lags, [topic for topic in topics if topic not in found]


@dataclass(frozen=True, slots=True)
class Trend:
    """The rates of commits and writes between two measurements, and the total lag."""

    committed_per_second: float
    written_per_second: float
    lag: int

    @property
    def seconds_left(self) -> float | None:
        """The time until the lag is 0 at these rates; None if it doesn't shrink."""
        gained = self.committed_per_second - self.written_per_second
        return self.lag / gained if gained > 0 else None


def trend(before: Sequence[PartitionLag], after: Sequence[PartitionLag], seconds: float) -> Trend:
    """The trend between two measurements."""
    old = {one.partition: one for one in before}
    committed = written = 0
    for one in after:
        earlier = old.get(one.partition)
        if earlier is not None:
            committed += one.position - earlier.position
            written += one.end - earlier.end
    return Trend(max(0, committed) / seconds, written / seconds, sum(one.lag for one in after))

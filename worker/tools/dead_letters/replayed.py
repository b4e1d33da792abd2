"""What need not be sent back: what replays have sent, and what the worker has settled itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.model.record import TopicPartition
from worker.core.wire import commit_metadata
from worker.edges.kafka.reader import TopicReader
from worker.tools.dead_letters.selection import ReplayedSelection, parse


@dataclass(frozen=True, slots=True)
class Settled:
    """What the worker itself has settled of a topic that it reads: everything below the position,
    and what the hints name.
    """

    position: int = 0
    known: commit_metadata.CommitMetadata | None = None

    def names(self, offset: int) -> bool:
        """True if it is."""
        return offset < self.position or (
            self.known is not None and self.known.covers(offset, self.position)
        )


async def settled_by_worker(
    reader: TopicReader, group_id: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, Settled]:
    """Of dead-letter topics the worker's group commits nothing, of parking topics what has come
    home.
    """
    found = await reader.committed(group_id, partitions)
    return {
        partition: Settled()
        if at is None
        else Settled(at.offset, commit_metadata.decode(at.offset, at.metadata))
        for partition, at in found.items()
    }


async def sent_by_replays(
    reader: TopicReader, group_prefix: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, list[ReplayedSelection]]:
    """What other replays have sent back."""
    accounts: dict[TopicPartition, list[ReplayedSelection]] = {
        partition: [] for partition in partitions
    }
    for group_id in await reader.groups(group_prefix):
        for partition, at in (await reader.committed(group_id, partitions)).items():
            selection = parse(at.metadata) if at is not None else None
            if at is not None and selection is not None:
                accounts[partition].append(ReplayedSelection(at.offset, selection))
    return accounts

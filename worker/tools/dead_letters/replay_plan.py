"""Plans a replay: the records to replay, the records that are finished, and the counts.

A record is finished when another replay has replayed it, or when the worker itself has settled it:
of a parking topic, the worker's own group commits what it redelivered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.core.model.record import TopicPartition
from worker.core.wire import commit_metadata
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.topics import Operation, Permissions
from worker.tools.dead_letters.record import FOREIGN, StoredRecord
from worker.tools.dead_letters.scan import RecordSelection, parse_selection

# Source: org.apache.kafka.common.internals.Topic.
TOPIC_NAME = re.compile("[a-zA-Z0-9._-]{1,249}")
NAME_CHARACTERS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The records to replay.

    `worker_group_id`: parked records that this group has settled were redelivered already.
    `records_max` None: no maximum. `per_second` None: as fast as possible. `ordered_topics`: source
    topics that are not replayed, because an old record would overwrite a newer one.
    """

    topics: tuple[str, ...]
    worker_group_id: str
    selection: RecordSelection
    records_max: int | None = None
    per_second: float | None = None
    ordered_topics: frozenset[str] = frozenset()

    @property
    def group_prefix(self) -> str:
        """What the names of all replays' groups begin with."""
        return f"{self.worker_group_id}.replay."

    @property
    def group_id(self) -> str:
        """The group that keeps this selection's positions."""
        return self.group_prefix + self.selection.digest()


@dataclass(slots=True)
class ReplayCounts:
    """What happened to the scanned records.

    `sent`: replayed, or in a dry run to be replayed; `verdicts` is what the worker would do with
    these now: `valid`, `not_read`, or a reason. `refused`: selected records that can't be replayed,
    by cause.
    """

    looked_at: int = 0
    sent: int = 0
    sent_before: int = 0
    not_meant: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, object]:
        """The counts as a JSON document."""
        return {
            "looked_at": self.looked_at,
            "sent": self.sent,
            "sent_before": self.sent_before,
            "not_meant": self.not_meant,
            "refused": dict(self.refused.most_common()),
            "verdicts": dict(self.verdicts.most_common()),
        }


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """Offsets scanned so far, offsets to scan, and the counts."""

    done: int
    total: int
    counts: ReplayCounts


@dataclass(frozen=True, slots=True)
class ReplayedSelection:
    """An earlier replay of a partition: of what `selection` matches below `position`."""

    position: int
    selection: RecordSelection

    def includes(self, stored: StoredRecord) -> bool:
        """True if that replay has replayed this record."""
        return (
            stored.place.offset < self.position
            and stored.reason != FOREIGN
            and self.selection.matches(stored)
        )


@dataclass(frozen=True, slots=True)
class SettledRange:
    """Settled offsets of a partition: below the position, or named by the commit metadata."""

    position: int = 0
    metadata: commit_metadata.CommitMetadata | None = None

    def includes(self, offset: int) -> bool:
        """True if the worker has settled this offset."""
        return offset < self.position or (
            self.metadata is not None and self.metadata.covers(offset, self.position)
        )


@dataclass(frozen=True, slots=True)
class FinishedRecords:
    """The records that need no replay, by partition."""

    replayed: Mapping[TopicPartition, Sequence[ReplayedSelection]]
    settled: Mapping[TopicPartition, SettledRange]

    def includes(self, stored: StoredRecord) -> bool:
        """True if this record needs no replay."""
        partition = TopicPartition(stored.place.topic, stored.place.partition)
        return self.settled[partition].includes(stored.place.offset) or any(
            replay.includes(stored) for replay in self.replayed[partition]
        )


async def finished_records(
    reader: TopicReader, group_id: str, replays_prefix: str, partitions: Sequence[TopicPartition]
) -> FinishedRecords:
    """Read what the worker's group and every replay's group have committed.

    Args:
        reader: reads the committed positions.
        group_id: the worker's group.
        replays_prefix: what the names of all replays' groups begin with.
        partitions: the partitions to look up.
    """
    replayed: dict[TopicPartition, list[ReplayedSelection]] = {
        partition: [] for partition in partitions
    }
    for replay_group in await reader.groups(replays_prefix):
        for partition, at in (await reader.committed(replay_group, partitions)).items():
            selection = parse_selection(at.metadata) if at is not None else None
            if at is not None and selection is not None:
                replayed[partition].append(ReplayedSelection(at.offset, selection))
    settled = {
        partition: SettledRange()
        if at is None
        else SettledRange(at.offset, commit_metadata.decode(at.offset, at.metadata))
        for partition, at in (await reader.committed(group_id, partitions)).items()
    }
    return FinishedRecords(replayed, settled)


async def unwritable_topics(connection: KafkaConnection, topics: Sequence[str]) -> dict[str, str]:
    """The topics that can't be written to now, each with the reason.

    Raises:
        aiokafka.errors.KafkaError: the brokers don't answer the question.
    """
    # Any program may write the headers, and the brokers reject a question about an invalid name.
    invalid = [topic for topic in topics if TOPIC_NAME.fullmatch(topic) is None]
    unwritable = {
        topic: f"topic {topic[:NAME_CHARACTERS_SHOWN]} does not exist" for topic in invalid
    }
    async with Permissions(connection) as permissions:
        found = await permissions.topics([topic for topic in topics if topic not in unwritable])
    for topic, access in found.items():
        if access.error == UnknownTopicOrPartitionError.__name__:
            unwritable[topic] = f"topic {topic} does not exist"
        elif access.error is not None:
            unwritable[topic] = f"topic {topic} can't be used: {access.error}"
        elif access.allowed is not None and Operation.WRITE not in access.allowed:
            unwritable[topic] = f"WRITE is not granted for topic {topic}"
    return unwritable

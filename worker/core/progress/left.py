"""What is left to whoever comes next: a process that ends says whether there is any.

Records of a partition that goes away unsettled, or settled but not committed, are left to its next
owner. From then on they are nobody's until the group has given the partition to somebody: where
that is another member, they are that one's.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from worker.core.model.record import TopicPartition


class Left(NamedTuple):
    """How many received records aren't settled, and by how many offsets what is committed lies
    behind what is settled.
    """

    unsettled: int = 0
    uncommitted: int = 0

    def plus(self, other: Left) -> Left:
        """Both together."""
        return Left(self.unsettled + other.unsettled, self.uncommitted + other.uncommitted)


class Abandoned:
    """The partitions that went away with something left, for as long as they are nobody's."""

    def __init__(self) -> None:
        self._left: dict[TopicPartition, Left] = {}

    def note(self, partition: TopicPartition, left: Left) -> None:
        """This partition went away, and this was left of it."""
        if any(left):
            self._left[partition] = left

    def begin(self, partition: TopicPartition) -> None:
        """This partition is received of again, by us."""
        self._left.pop(partition, None)

    def keep_only(self, partitions: Set[TopicPartition]) -> None:
        """The group has given us these; all others have other owners."""
        self._left = {
            partition: left for partition, left in self._left.items() if partition in partitions
        }

    def total(self) -> Left:
        """All of it."""
        total = Left()
        for left in self._left.values():
            total = total.plus(left)
        return total

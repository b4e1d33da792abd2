"""Leader epochs of what a consumer fetches: by them it shows that a partition's log isn't the one
that was read before.

Each election of a leader begins an epoch, and each record batch carries the epoch in which it was
written. After an unclean election the log may end before our position, and be written anew from
there: the offsets go on as if nothing had happened. But the first batch behind our position is of a
later epoch then, and the leader knows where the epoch of the last batch before it has ended: before
our position, if records were lost.

Source: KIP-101 and KIP-320. aiokafka fetches without epochs and doesn't show those of batches, so
they are read from the answers (`worker.edges.kafka.aiokafka_internals`): one look at each batch's
header, none at a record.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct

from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka.offset_lookup import Bounds

# A batch's base offset, length from there on, leader epoch and format.
# Source: https://kafka.apache.org/documentation/#recordbatch
HEADER = Struct(">qiib")
LENGTH_COUNTS_FROM = 12
# Older formats have no epoch.
FORMAT_MIN = 2
# What is fetched ahead is a few batches; elections lie far apart.
RUNS_MAX = 64


class FetchedEpochs:
    """The epochs of what one consumer has fetched, and of what was taken last of each partition."""

    def __init__(self) -> None:
        # Of each partition: where a run of batches of one epoch begins, and that epoch.
        self._runs: dict[ClientPartition, list[tuple[int, int]]] = {}
        self._taken: dict[ClientPartition, int] = {}

    def begin(self, partition: ClientPartition) -> None:
        """The partition is read from somewhere else now."""
        self._runs.pop(partition, None)
        self._taken.pop(partition, None)

    def note(self, partition: ClientPartition, batches: bytes) -> None:
        """This was fetched; the last batch may be cut short."""
        runs = self._runs.setdefault(partition, [])
        at = 0
        while at + HEADER.size <= len(batches):
            base, length, epoch, form = HEADER.unpack_from(batches, at)
            at += LENGTH_COUNTS_FROM + length
            if form < FORMAT_MIN:
                continue
            # Fetched again, after a seek.
            while runs and runs[-1][0] >= base:
                runs.pop()
            if not runs or runs[-1][1] != epoch:
                runs.append((base, epoch))
        del runs[:-RUNS_MAX]

    def taken(self, partition: ClientPartition) -> int | None:
        """The epoch of the last batch that was taken of this partition; None where nothing was, or
        it isn't known.
        """
        return self._taken.get(partition)

    def is_later(self, partition: ClientPartition, offset: int) -> bool:
        """True if the record at this offset is of a later epoch than what was taken before."""
        taken, epoch = self._taken.get(partition), self._of(partition, offset)
        return taken is not None and epoch is not None and epoch > taken

    def take(self, partition: ClientPartition, position: int) -> None:
        """All before this position is taken."""
        epoch = self._of(partition, position - 1)
        if epoch is not None:
            self._taken[partition] = epoch

    def trust(self, partition: ClientPartition, epoch: int) -> None:
        """Up to this epoch the log is known to hold what was taken of it."""
        self._taken[partition] = epoch

    def _of(self, partition: ClientPartition, offset: int) -> int | None:
        runs = self._runs.get(partition, [])
        index = bisect_right(runs, offset, key=lambda run: run[0]) - 1
        return runs[index][1] if index >= 0 else None


class Log(StrEnum):
    """What has become of the log that was read before."""

    WHOLE = "whole"
    # Retention has removed what was to be read next.
    SHORTENED = "shortened"
    # Its end is lost, after an unclean election.
    TRUNCATED = "truncated"
    # The topic was deleted and made again.
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where to go on reading, and why there."""

    position: int
    log: Log


def resume(position: int, epoch: int | None, bounds: Bounds) -> Resumption:
    """Where to go on from a position.

    Args:
        position: the offset that would be read next.
        epoch: that of the last batch before it, None where it isn't known.
        bounds: what the leader says; its `epoch_end` is where this epoch has ended.

    Without a known epoch a log that ends before the position is truncated, and it can't be known
    from where on it was written anew: reading goes on at its end.
    """
    current = bounds.leader_epoch
    if epoch is not None and current is not None:
        # Elections only count up. And within one epoch nothing is lost.
        if current < epoch or (current == epoch and position > bounds.end):
            return Resumption(bounds.begin, Log.REPLACED)
        if bounds.epoch_end is not None and bounds.epoch_end < position and current > epoch:
            return Resumption(max(bounds.begin, bounds.epoch_end), Log.TRUNCATED)
    if position < bounds.begin:
        return Resumption(bounds.begin, Log.SHORTENED)
    if position > bounds.end:
        return Resumption(bounds.end, Log.TRUNCATED)
    return Resumption(position, Log.WHOLE)

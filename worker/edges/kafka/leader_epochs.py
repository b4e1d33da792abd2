"""Leader epochs of fetched batches: they show whether a partition's log was replaced.

Each election of a leader begins an epoch, and each record batch carries the epoch in which it was
written. After an unclean election the log may end before our position, and be written anew from
there, with the same offsets. But then the first batch after our position has a later epoch, and the
leader knows where the epoch of the last batch before it ended: before our position, if records were
lost.

Source: KIP-101 and KIP-320. aiokafka fetches without epochs and doesn't show the epochs of batches,
so they are read from the answers (`aiokafka_internals.consumer.show_batches`): from the header of
each batch, not from its records.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct

from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka.offset_lookup import LogBounds

# A batch's base offset, length from there on, leader epoch and format.
# Source: https://kafka.apache.org/documentation/#recordbatch
HEADER = Struct(">qiib")
LENGTH_COUNTS_FROM = 12
# Older formats have no epoch.
FORMAT_MIN = 2
# Only a few batches are fetched ahead, and elections are rare.
RUNS_MAX = 64


class FetchedEpochs:
    """The epochs of the batches that one consumer has fetched, and of the last batch taken."""

    def __init__(self) -> None:
        # Per partition: where a run of batches of one epoch begins, and that epoch.
        self._runs: dict[ClientPartition, list[tuple[int, int]]] = {}
        self._taken: dict[ClientPartition, int] = {}

    def begin(self, partition: ClientPartition) -> None:
        """Forget this partition: it is read from somewhere else now."""
        self._runs.pop(partition, None)
        self._taken.pop(partition, None)

    def note(self, partition: ClientPartition, batches: bytes) -> None:
        """Note the epochs of these fetched batches; the last batch may be cut short."""
        runs = self._runs.setdefault(partition, [])
        at = 0
        while at + HEADER.size <= len(batches):
            base, length, epoch, form = HEADER.unpack_from(batches, at)
            if length <= 0:
                # Damage, which the client reports when it reads the batch.
                break
            at += LENGTH_COUNTS_FROM + length
            if form < FORMAT_MIN:
                continue
            # The batches are fetched again, after a seek.
            while runs and runs[-1][0] >= base:
                runs.pop()
            if not runs or runs[-1][1] != epoch:
                runs.append((base, epoch))
        del runs[:-RUNS_MAX]

    def taken(self, partition: ClientPartition) -> int | None:
        """Return the epoch of the last batch taken of this partition; None where unknown."""
        return self._taken.get(partition)

    def is_later(self, partition: ClientPartition, offset: int) -> bool:
        """Return whether the record at this offset is of a later epoch than the last one taken."""
        taken, epoch = self._taken.get(partition), self._of(partition, offset)
        return taken is not None and epoch is not None and epoch > taken

    def take(self, partition: ClientPartition, position: int) -> None:
        """Note that all records before this position are taken."""
        epoch = self._of(partition, position - 1)
        if epoch is not None:
            self._taken[partition] = epoch

    def trust(self, partition: ClientPartition, epoch: int) -> None:
        """Note that the log up to this epoch is known to have the records that were taken."""
        self._taken[partition] = epoch

    def _of(self, partition: ClientPartition, offset: int) -> int | None:
        runs = self._runs.get(partition, [])
        index = bisect_right(runs, offset, key=lambda run: run[0]) - 1
        return runs[index][1] if index >= 0 else None


class LogState(StrEnum):
    """The log of a partition, compared with the log that was read before."""

    WHOLE = "whole"
    # Retention has removed the records to be read next.
    SHORTENED = "shortened"
    # Its end is lost, after an unclean election.
    TRUNCATED = "truncated"
    # The topic was deleted and created again.
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where reading continues, and why there."""

    position: int
    log: LogState


def resume(position: int, epoch: int | None, bounds: LogBounds) -> Resumption:
    """Decide where reading continues.

    Args:
        position: the offset that would be read next.
        epoch: the epoch of the last batch before it, None where it isn't known.
        bounds: the answer of the leader; its `epoch_end` is where this epoch has ended.

    Without a known epoch, a log that ends before the position is truncated, and nothing shows from
    where on it was written anew: reading continues at its end.
    """
    current = bounds.leader_epoch
    if epoch is not None and current is not None:
        # Elections only count up. And within one epoch nothing is lost.
        if current < epoch or (current == epoch and position > bounds.end):
            return Resumption(bounds.begin, LogState.REPLACED)
        if bounds.epoch_end is not None and bounds.epoch_end < position and current > epoch:
            return Resumption(max(bounds.begin, bounds.epoch_end), LogState.TRUNCATED)
    if position < bounds.begin:
        return Resumption(bounds.begin, LogState.SHORTENED)
    if position > bounds.end:
        return Resumption(bounds.end, LogState.TRUNCATED)
    return Resumption(position, LogState.WHOLE)

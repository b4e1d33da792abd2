"""The log of a partition: appended batches, removals by retention, the wire format."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import ConsumerRecord

Header = tuple[str, bytes]

# The places of these fields in a record batch of format 2. Source:
# https://kafka.apache.org/documentation/#recordbatch
BASE_OFFSET_FORMAT = ">q"
CHECKSUM_AT = 17
LEADER_EPOCH_AT = 12
ATTRIBUTES_AT = 21
CONTROL_FLAG = 0x20
COMMIT_MARKER_KEY = b"\0\0\0\1"
# Several batches per answer, as a broker has them: when a batch has an error, records of an earlier
# batch must have been read already.
BATCH_RECORDS_MAX = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, or a control marker, which takes an offset and is never returned."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    is_control: bool = False
    is_damaged: bool = False
    epoch: int = 0

    @property
    def is_alone(self) -> bool:
        """True if it has a batch of its own."""
        return self.is_control or self.is_damaged

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes in a batch, about."""
        size = 30 + len(self.key or b"") + len(self.value or b"")
        return size + sum([len(name) + len(value) + 2 for name, value in self.headers])


class PartitionLog:
    """The log of a partition. Offsets may have gaps."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.start = 0
        self.end = 0
        self._transaction_start: int | None = None
        self.epoch = 0
        self.epoch_starts = [(0, 0)]
        self._entries: list[Entry] = []
        self._produced: dict[tuple[int, int, int], int] = {}

    def append(
        self, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: Sequence[Header]
    ) -> int:
        """Append a record; returns its offset."""
        self._entries.append(
            Entry(self.end, timestamp_ms, key, value, tuple(headers), epoch=self.epoch)
        )
        self.end += 1
        return self.end - 1

    def append_control(self, timestamp_ms: int) -> int:
        """Append a marker, which no consumer sees; returns its offset."""
        self._entries.append(
            Entry(
                self.end,
                timestamp_ms,
                COMMIT_MARKER_KEY,
                b"\0\0\0\0\0\0",
                (),
                is_control=True,
                epoch=self.epoch,
            )
        )
        self.end += 1
        return self.end - 1

    @property
    def stable_end(self) -> int:
        """The end for consumers of committed transactions: the first record of an open one."""
        return self.end if self._transaction_start is None else self._transaction_start

    def open_transaction(self) -> None:
        """Open a transaction: records are hidden from committed readers until its end."""
        self._transaction_start = self.end

    def end_transaction(self) -> None:
        """Commit the open transaction."""
        self._transaction_start = None

    def damage(self, offset: int) -> None:
        """Put this record into a batch of its own with a wrong checksum."""
        index = bisect_left(self._entries, offset, key=lambda entry: entry.offset)
        self._entries[index] = replace(self._entries[index], is_damaged=True)

    def skip(self, count: int) -> None:
        """Leave a gap, as compaction does."""
        self.end += count

    def truncate(self, before_offset: int) -> None:
        """Delete the records before this offset, as retention does."""
        self.start = max(self.start, min(before_offset, self.end))

    def elect_uncleanly(self, end: int) -> None:
        """Elect a replica without the records from this offset on, which begins a new epoch."""
        self._entries = [entry for entry in self._entries if entry.offset < end]
        self.epoch += 1
        self.epoch_starts = [
            (epoch, start) for epoch, start in self.epoch_starts if start < end
        ] + [(self.epoch, end)]
        self.end = end

    def elect(self) -> None:
        """Elect another leader, with all records, which begins a new epoch."""
        self.elect_uncleanly(self.end)

    def epoch_end(self, epoch: int) -> tuple[int, int]:
        """The latest epoch that isn't later, and the offset at which it ended; -1 and -1 for none.

        As a leader answers. Source: Kafka's `LeaderEpochFileCache.endOffsetFor`.
        """
        if epoch == self.epoch:
            return epoch, self.end
        later = [start for known, start in self.epoch_starts if known > epoch]
        if not later:
            return -1, -1
        earlier = [known for known, _ in self.epoch_starts if known <= epoch]
        return (max(earlier) if earlier else epoch), min(later)

    def first_offset_of(self, batch: tuple[int, int, int]) -> int | None:
        """The offset of an idempotent batch (producer id, epoch, sequence), if it was written."""
        return self._produced.get(batch)

    def remember(self, batch: tuple[int, int, int], first_offset: int) -> None:
        """Remember this batch: sent again, it isn't written again."""
        self._produced[batch] = first_offset

    def offset_at(self, timestamp_ms: int) -> tuple[int, int]:
        """The first record that isn't older than this, and its time; both -1 if there is none."""
        found = (
            one
            for one in self._from(self.start)
            if one.timestamp_ms >= timestamp_ms and not one.is_control
        )
        return next(((one.offset, one.timestamp_ms) for one in found), (-1, -1))

    def read(self, offset: int, bytes_max: int) -> list[bytes]:
        """The batches from this offset on: at least one record, if any, else as much as fits."""
        taken: list[Entry] = []
        size = 0
        for entry in self._from(offset):
            if entry.offset >= self.stable_end:
                break
            size += entry.size_bytes
            if taken and size > bytes_max:
                break
            taken.append(entry)
        return [_encode(batch) for batch in _batches(taken)]

    def records(self, after_offset: int = -1) -> list[ConsumerRecord[bytes, bytes]]:
        """All records ever appended behind this offset, including those that retention removed."""
        return [
            self._record(entry) for entry in self._from(after_offset + 1) if not entry.is_control
        ]

    @property
    def last_offset(self) -> int:
        """The offset of the last record that a consumer gets to see; -1 if there is none."""
        return next((entry.offset for entry in reversed(self._entries) if not entry.is_control), -1)

    def _from(self, offset: int) -> Iterator[Entry]:
        first = bisect_left(self._entries, offset, key=lambda entry: entry.offset)
        return (self._entries[index] for index in range(first, len(self._entries)))

    def _record(self, entry: Entry) -> ConsumerRecord[bytes, bytes]:
        return ConsumerRecord(
            self.topic,
            self.partition,
            entry.offset,
            entry.timestamp_ms,
            0,
            entry.key,
            entry.value,
            None,
            -1 if entry.key is None else len(entry.key),
            -1 if entry.value is None else len(entry.value),
            entry.headers,
        )


def corrupted(batch: bytes) -> bytes:
    """The same batch with a checksum that doesn't hold."""
    return batch[:CHECKSUM_AT] + bytes([batch[CHECKSUM_AT] ^ 0xFF]) + batch[CHECKSUM_AT + 1 :]


def _batches(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group entries into batches; control markers and damaged records are batches of their own."""
    batches: list[list[Entry]] = []
    for entry in entries:
        last = batches[-1] if batches else None
        if (
            last is None
            or entry.is_alone
            or last[-1].is_alone
            or len(last) == BATCH_RECORDS_MAX
            or entry.epoch != last[-1].epoch
        ):
            batches.append([entry])
        else:
            last.append(entry)
    return batches


def _encode(entries: Sequence[Entry]) -> bytes:
    base = entries[0].offset
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2**31 - 1)
    for entry in entries:
        builder.append(
            entry.offset - base, entry.timestamp_ms, entry.key, entry.value, list(entry.headers)
        )
    batch = bytearray(builder.build())
    struct.pack_into(BASE_OFFSET_FORMAT, batch, 0, base)
    struct.pack_into(">i", batch, LEADER_EPOCH_AT, entries[0].epoch)
    if entries[0].is_control:
        batch[ATTRIBUTES_AT + 1] |= CONTROL_FLAG
        struct.pack_into(">I", batch, CHECKSUM_AT, calc_crc32c(bytes(batch[ATTRIBUTES_AT:])))
    return corrupted(bytes(batch)) if entries[0].is_damaged else bytes(batch)

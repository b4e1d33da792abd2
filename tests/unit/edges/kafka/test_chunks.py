"""Taking fetched records, and slices of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition as ClientPartition

from tests.builders import FakeRecord
from worker.core.model.record import Place
from worker.edges.kafka.chunks import (
    DAMAGED_IN_A_ROW_MAX,
    SLICE_BYTES,
    Chunk,
    DamageSkips,
    slices,
    take,
    take_up_to_the_damage,
)

PARTITION = ClientPartition("t", 0)
UNDECODABLE = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


class Consumer:
    """Gives these records, or raises these errors, one after the other; then nothing is fetched."""

    def __init__(self, *fetched: FakeRecord | Exception) -> None:
        self._fetched = list(fetched)

    async def getmany(
        self, partition: ClientPartition, timeout_ms: int, max_records: int
    ) -> dict[ClientPartition, list[FakeRecord]]:
        """All at once; an error drops what comes before it."""
        some, self._fetched = self._fetched[:max_records], self._fetched[max_records:]
        for one in some:
            if isinstance(one, Exception):
                raise one
        return {partition: [one for one in some if isinstance(one, FakeRecord)]} if some else {}

    async def getone(self, partition: ClientPartition) -> FakeRecord:
        if not self._fetched:
            await asyncio.Event().wait()
        one = self._fetched.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    def seek(self, partition: ClientPartition, offset: int) -> None:
        """Note where the next fetch begins; what is fetched is given by the test."""
        self.sought = offset


def consumer(*fetched: FakeRecord | Exception) -> Any:
    return Consumer(*fetched)


def records(count: int, size: int = 0) -> list[FakeRecord]:
    return [FakeRecord(offset, b"v" * size) for offset in range(count)]


async def test_fetched_records_are_taken_and_nothing_is_waited_for() -> None:
    assert await take(consumer(*records(5)), PARTITION, 3) == records(3)
    assert await take(consumer(), PARTITION, 3) == ()


async def test_a_name_that_is_not_utf8_counts_as_damage() -> None:
    with pytest.raises(CorruptRecordException, match="a header's name is not UTF-8 at byte 0"):
        await take(consumer(UNDECODABLE), PARTITION, 3)


@pytest.mark.parametrize("damage", [CorruptRecordException("checksum"), UNDECODABLE], ids=repr)
async def test_whole_records_before_the_damage_are_taken(damage: Exception) -> None:
    damaged = consumer(*records(2), damage)
    assert await take_up_to_the_damage(damaged, PARTITION, 10) == Chunk(records(2), is_whole=False)
    again = consumer(damage)
    with pytest.raises(CorruptRecordException):
        await take_up_to_the_damage(again, PARTITION, 10)


async def test_without_damage_all_that_is_fetched_is_whole() -> None:
    assert await take_up_to_the_damage(consumer(*records(2)), PARTITION, 10) == Chunk(
        records(2), is_whole=True
    )
    assert await take_up_to_the_damage(consumer(*records(9)), PARTITION, 4) == Chunk(
        records(4), is_whole=False
    )
    assert not (await take_up_to_the_damage(consumer(), PARTITION, 10)).is_whole


async def test_a_damaged_record_is_skipped_and_reported_and_whole_records_are_kept() -> None:
    reported: list[Place] = []
    skips = DamageSkips(lambda place, detail: reported.append(place))
    damaged = consumer(*records(2), CorruptRecordException("checksum"))
    assert await skips.take(damaged, PARTITION, 0, 10) == records(2)
    assert (reported, damaged.sought) == ([], 0)
    assert await skips.take(consumer(UNDECODABLE), PARTITION, 2, 10) == ()
    assert reported == [Place("t", 0, 2)]


async def test_damage_without_end_is_raised_and_whole_records_begin_the_count_again() -> None:
    skips = DamageSkips(lambda place, detail: None)
    damage = CorruptRecordException("checksum")
    for offset in range(DAMAGED_IN_A_ROW_MAX):
        await skips.take(consumer(damage), PARTITION, offset, 10)
    # Whole records lie between this damage and the last.
    for offset in range(DAMAGED_IN_A_ROW_MAX + 5, 2 * DAMAGED_IN_A_ROW_MAX + 5):
        await skips.take(consumer(damage), PARTITION, offset, 10)
    with pytest.raises(CorruptRecordException):
        await skips.take(consumer(damage), PARTITION, 2 * DAMAGED_IN_A_ROW_MAX + 5, 10)


def test_slices_are_bounded_and_each_has_the_position_behind_it() -> None:
    many = records(10, SLICE_BYTES // 3)
    cut = list(slices(many, 12))
    assert [record for part, _ in cut for record in part] == many
    assert [position for _, position in cut] == [3, 6, 9, 12]


@pytest.mark.parametrize("size", [0, SLICE_BYTES, 2 * SLICE_BYTES])
def test_there_is_always_a_slice_and_a_large_record_is_one_of_its_own(size: int) -> None:
    assert list(slices([], 7)) == [([], 7)]
    large = [FakeRecord(3, b"v" * size), FakeRecord(4, b"v")]
    assert [part[0].offset for part, _ in slices(large, 5)][:1] == [3]
    assert sum(len(part) for part, _ in slices(large, 5)) == 2

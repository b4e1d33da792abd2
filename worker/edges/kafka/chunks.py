"""Takes records of one partition out of aiokafka's client, and cuts them into slices that are
handled without a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import Record

# A thousand records of 60 KB, which a batch of 1 MB can hold, take most of a second to decode.
SLICE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of a partition that was damaged.

    `is_whole`: what has been fetched of it is read, and no damage was met.
    """

    records: Sequence[Record]
    is_whole: bool


async def take(
    consumer: AIOKafkaConsumer, partition: ClientPartition, records_max: int
) -> Sequence[Record]:
    """Take what has been fetched of a partition; none if nothing has, or while the group is in a
    rebalance.

    Raises:
        CorruptRecordException: a record is damaged; those before it are dropped with it, and are
            fetched again.
        KafkaError: whatever the last fetch of this partition has met, or the group's coordinator.
    """
    fetched: Mapping[ClientPartition, Sequence[Record]] = {}
    # No time at all: `getmany` suspends only in a rebalance, and then for as long as that lasts.
    with suppress(TimeoutError), _undecodable_is_damaged():
        async with asyncio.timeout(0):
            fetched = await consumer.getmany(partition, timeout_ms=0, max_records=records_max)
    return fetched.get(partition, ())


async def take_up_to_the_damage(
    consumer: AIOKafkaConsumer, partition: ClientPartition, records_max: int
) -> Chunk:
    """Take whole records that stand before damaged ones: `getmany` drops them with these, `getone`
    stops exactly there.

    What has been fetched is taken and nothing waited for.

    Raises:
        CorruptRecordException: the very next record is damaged.
    """
    records: list[Record] = []
    while len(records) < records_max:
        try:
            # No time at all: `getone` suspends only where it would have to wait for a fetch.
            async with asyncio.timeout(0):
                with _undecodable_is_damaged():
                    records.append(await consumer.getone(partition))
        except TimeoutError:
            return Chunk(records, is_whole=bool(records))
        except CorruptRecordException:
            if not records:
                raise
            break
    return Chunk(records, is_whole=False)


def slices(records: Sequence[Record], position: int) -> Iterator[tuple[Sequence[Record], int]]:
    """The records in parts of about `SLICE_BYTES` at most, each with the position after it; always
    at least one part.
    """
    sizes = [len(record.value or b"") + len(record.key or b"") for record in records]
    if sum(sizes) <= SLICE_BYTES:
        yield records, position
        return
    start = held = 0
    for index, size in enumerate(sizes):
        if index > start and held + size > SLICE_BYTES:
            yield records[start:index], records[index - 1].offset + 1
            start, held = index, 0
        held += size
    yield records[start:], position


@contextmanager
def _undecodable_is_damaged() -> Iterator[None]:
    """A header's name is UTF-8 by Kafka's protocol, but brokers don't look, and aiokafka fails
    where it isn't.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise CorruptRecordException(
            f"a header's name is not UTF-8 at byte {error.start}"
        ) from None

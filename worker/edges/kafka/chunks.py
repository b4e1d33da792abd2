"""Takes fetched records of one partition out of aiokafka's client, and cuts them into slices.

Only fetched records are taken: to wait for one partition would be to wait for it with all others.
A record that aiokafka can't decode doesn't always raise an error of Kafka's kind, and would end the
process at each restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition as ClientPartition

from worker.core.model.record import Place, Record
from worker.edges.kafka.broker_address import text_of

# A thousand records of 60 KB, which a batch of 1 MB can hold, take most of a second to decode.
SLICE_BYTES = 1024 * 1024
# The errors of aiokafka for a record that can't be read.
DAMAGE = (CorruptRecordException, UnicodeDecodeError)
DAMAGED_IN_A_ROW_MAX = 1000
# For the next record before damage: it lies in a batch that has just been fetched.
RECORD_SECONDS_MAX = 5.0

OnDamage = Callable[[Place, str], None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of a partition with damage.

    `is_whole`: all fetched records are read, and none of them was damaged.
    """

    records: Sequence[Record]
    is_whole: bool


async def take(
    consumer: AIOKafkaConsumer, partition: ClientPartition, records_max: int
) -> Sequence[Record]:
    """Take fetched records of a partition; none if nothing is fetched, or during a rebalance.

    Raises:
        CorruptRecordException: a record is damaged; the records before it are dropped with it, and
            are fetched again.
        KafkaError: an error of the last fetch of this partition, or of the group's coordinator.
    """
    fetched: Mapping[ClientPartition, Sequence[Record]] = {}
    # No time at all: `getmany` suspends only in a rebalance, and then for as long as that lasts.
    with suppress(TimeoutError), _undecodable_is_damaged():
        async with asyncio.timeout(0):
            fetched = await consumer.getmany(partition, timeout_ms=0, max_records=records_max)
    return fetched.get(partition, ())


async def take_up_to_the_damage(
    consumer: AIOKafkaConsumer,
    partition: ClientPartition,
    records_max: int,
    wait_seconds: float = 0.0,
) -> Chunk:
    """Take whole records one by one, up to the first damaged record.

    `getmany` would drop the whole records before the damage; `getone` stops exactly there.

    Args:
        consumer: with this partition assigned.
        partition: where damage was found.
        records_max: the most records to take.
        wait_seconds: for the next record. Without it only fetched records are taken: `getone`
            suspends only where it has to wait for a fetch.

    Raises:
        CorruptRecordException: the very next record is damaged.
    """
    records: list[Record] = []
    while len(records) < records_max:
        try:
            async with asyncio.timeout(wait_seconds):
                with _undecodable_is_damaged():
                    records.append(await consumer.getone(partition))
        except TimeoutError:
            return Chunk(records, is_whole=bool(records))
        except CorruptRecordException:
            if not records:
                raise
            break
    return Chunk(records, is_whole=False)


class DamageSkips:
    """Reads what is whole around damaged records, and skips these one by one.

    Args:
        on_damage: called for each record that is skipped.
    """

    def __init__(self, on_damage: OnDamage) -> None:
        self._on_damage = on_damage
        # The offset behind the last record that was skipped, and how many were skipped up to there.
        self._behind: tuple[ClientPartition, int] | None = None
        self._in_a_row = 0

    async def take(
        self,
        consumer: AIOKafkaConsumer,
        partition: ClientPartition,
        position: int,
        records_max: int,
    ) -> Sequence[Record]:
        """Return the whole records before the damage; without any, skip the damaged record.

        Args:
            consumer: with this partition assigned. It has just raised one of `DAMAGE`, and has
                dropped the records that it had fetched with the damaged record.
            partition: where the damage is.
            position: where to read on.
            records_max: the most records to take.

        Raises:
            CorruptRecordException: too many damaged records in a row: more is wrong than these.
        """
        consumer.seek(partition, position)
        if self._behind != (partition, position):
            self._in_a_row = 0
        try:
            chunk = await take_up_to_the_damage(
                consumer, partition, records_max, RECORD_SECONDS_MAX
            )
        except CorruptRecordException as error:
            self._in_a_row += 1
            if self._in_a_row > DAMAGED_IN_A_ROW_MAX:
                raise
            # One offset at a time: nothing shows how far the damage reaches.
            self._on_damage(Place(*partition, position), text_of(error))
            self._behind = (partition, position + 1)
            consumer.seek(partition, position + 1)
            return ()
        return chunk.records


def slices(records: Sequence[Record], position: int) -> Iterator[tuple[Sequence[Record], int]]:
    """Cut the records into slices of about `SLICE_BYTES` at most, each with the position after it.

    There is always at least one slice. Each is handled without a pause of the event loop.
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
    """Report a header's name that isn't UTF-8 as damage.

    Kafka's protocol demands UTF-8, but brokers don't look, and aiokafka fails.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise CorruptRecordException(
            f"a header's name is not UTF-8 at byte {error.start}"
        ) from None

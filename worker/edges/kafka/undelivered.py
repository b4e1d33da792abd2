"""Which records did not end as delivered, as the dead-letter and the parking topic say: these must
not count as seen.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from worker.core.model.record import Place, Record
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX
from worker.edges.kafka.reader import TopicReader

# More dead letters or parked records than this within the window's age, and it isn't known.
RECORDS_MAX = 100_000


class TooMuchError(Exception):
    """It can't be known which records must not count as seen, so none may."""


@dataclass(slots=True)
class UndeliveredRecords:
    """The records that a dead letter or a parked record names, by where they were first
    received.
    """

    refused: set[Place] = field(default_factory=set)
    parked: set[Place] = field(default_factory=set)


async def read_not_delivered(
    reader: TopicReader, topics: Collection[str], since_milliseconds: int, chunk_seconds_max: float
) -> UndeliveredRecords:
    """What the records of these topics, as far as they exist, say of others.

    Args:
        reader: open.
        topics: dead letters and parking.
        since_milliseconds: what is older isn't looked at.
        chunk_seconds_max: how long the next records may take.

    Raises:
        TooMuchError: there are more than `RECORDS_MAX`.
        aiokafka.errors.KafkaError, TimeoutError: the brokers couldn't be asked.
        UnicodeDecodeError: the name of a record's header isn't UTF-8.
    """
    spans = await reader.spans(topics, since_milliseconds)
    for span in spans:
        if span.length > RECORDS_MAX:
            raise TooMuchError(f"{span.partition.topic} names more than {RECORDS_MAX} records")
    named = UndeliveredRecords()
    async for _, records in reader.chunks(spans, seconds_max=chunk_seconds_max):
        for record in records:
            _note(named, record)
    return named


def _note(named: UndeliveredRecords, record: Record) -> None:
    headers = {name: value for name, value in record.headers if value is not None}
    for prefix, places in ((ERRORS_PREFIX, named.refused), (PARKED_PREFIX, named.parked)):
        try:
            topic = headers[prefix + "topic"].decode()
            places.add(
                Place(topic, int(headers[prefix + "partition"]), int(headers[prefix + "offset"]))
            )
        except (KeyError, ValueError):
            # Not one of ours: somebody else writes here too.
            continue

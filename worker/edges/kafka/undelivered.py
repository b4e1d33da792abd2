"""Which records the dead letters and the parked records name: these must not count as seen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from worker.core.model.record import Place, Record
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX
from worker.edges.kafka.reader import TopicReader

# With more dead letters and parked records than this within the window's age, it isn't known which
# records they name.
NAMING_RECORDS_MAX = 100_000


class TooMuchError(Exception):
    """It can't be known which records must not count as seen, so none may count."""


@dataclass(slots=True)
class UndeliveredRecords:
    """The records that a dead letter or a parked record names, by their first place.

    Of records written before `named_from_milliseconds` (Unix) it is not known.
    """

    named_from_milliseconds: int
    refused: set[Place] = field(default_factory=set)
    parked: set[Place] = field(default_factory=set)


async def read_undelivered(
    reader: TopicReader,
    topics: Collection[str],
    since_milliseconds: tuple[int, int],
    chunk_seconds_max: float,
) -> UndeliveredRecords:
    """Read which records the records of these topics name, as far as the topics exist.

    Args:
        reader: open.
        topics: dead letters and parking.
        since_milliseconds: older records are left out; and the time of the oldest record that they
            may name.
        chunk_seconds_max: how long the next records may take.

    Raises:
        TooMuchError: there are more than `NAMING_RECORDS_MAX`.
        aiokafka.errors.KafkaError, TimeoutError: the brokers couldn't be asked.
        UnicodeDecodeError: the name of a record's header isn't UTF-8.
    """
    since, named_from = since_milliseconds
    spans = await reader.spans(topics, since)
    for span in spans:
        if span.length > NAMING_RECORDS_MAX:
            raise TooMuchError(
                f"{span.partition.topic} names more than {NAMING_RECORDS_MAX} records"
            )
    named = UndeliveredRecords(named_from)
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
            # Not ours: another program writes here too.
            continue

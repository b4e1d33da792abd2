"""Which records count as undelivered, from the headers of dead letters and parked records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, cast

import pytest

from tests.builders import FakeRecord
from worker.core.model.record import Place, Record, TopicPartition
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX
from worker.edges.kafka.reader import Span, TopicReader
from worker.edges.kafka.undelivered import (
    NAMING_RECORDS_MAX,
    TooMuchError,
    UndeliveredRecords,
    read_undelivered,
)

DEAD_LETTERS = TopicPartition("events.dlq", 0)


class Topics:
    """A reader of one partition with these records."""

    def __init__(self, records: Sequence[Record], length: int | None = None) -> None:
        self._records = records
        self._length = len(records) if length is None else length
        self.asked: list[tuple[Collection[str], int]] = []

    async def spans(self, topics: Collection[str], since: int) -> list[Span]:
        self.asked.append((topics, since))
        return [Span(DEAD_LETTERS, 0, self._length)]

    async def chunks(
        self, spans: Sequence[Span], seconds_max: float
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        yield spans[0].partition, self._records


def naming(prefix: str, offset: bytes = b"7", **changes: Any) -> Record:
    """A record that names the record at events/2 and this offset as its origin."""
    parts = {"topic": b"events", "partition": b"2", "offset": offset} | changes
    headers = [(prefix + name, value) for name, value in parts.items() if value is not ...]
    return FakeRecord(0, b"{}", b"", headers)


async def undelivered(topics: Topics) -> UndeliveredRecords:
    reader = cast(TopicReader, topics)
    return await read_undelivered(reader, {DEAD_LETTERS.topic}, (1_000, 5_000), 1.0)


async def test_dead_letters_and_parked_records_name_where_they_were_first_received() -> None:
    topics = Topics([naming(ERRORS_PREFIX), naming(PARKED_PREFIX, b"9")])
    found = await undelivered(topics)
    assert (found.refused, found.parked) == ({Place("events", 2, 7)}, {Place("events", 2, 9)})
    assert found.named_from_milliseconds == 5_000
    assert topics.asked == [({"events.dlq"}, 1_000)]


@pytest.mark.parametrize(
    "record",
    [
        naming(ERRORS_PREFIX, b"seven"),
        naming(ERRORS_PREFIX, topic=...),
        naming(ERRORS_PREFIX, topic=b"\xff"),
        naming(ERRORS_PREFIX, partition=None),
        naming("other."),
    ],
    ids=["no number", "no topic", "no UTF-8", "no value", "other headers"],
)
async def test_a_record_of_another_program_names_none(record: Record) -> None:
    found = await undelivered(Topics([record, naming(ERRORS_PREFIX)]))
    assert (found.refused, found.parked) == ({Place("events", 2, 7)}, set())


async def test_more_records_than_can_be_remembered_are_not_read() -> None:
    with pytest.raises(TooMuchError, match=r"events\.dlq names more than"):
        await undelivered(Topics([], NAMING_RECORDS_MAX + 1))

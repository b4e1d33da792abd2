"""Rehearsals, without brokers."""

from __future__ import annotations

import pytest

from tests.builders import UNIX_SECONDS, FakeRecord, make_record, make_value, now_at
from tests.unit.tools.stored import settings
from worker.core.model.record import Position, TopicPartition
from worker.core.wire.commit_metadata import encode
from worker.tools.rehearsal import Rehearsal
from worker.tools.validation import DryRun

PARTITION = TopicPartition("offline-events", 0)


def test_rows_are_batched_as_they_would_be_sent() -> None:
    rehearsal = Rehearsal(DryRun(settings(batching__rows_max="2")), {})
    rehearsal.receive(PARTITION, [make_record(offset) for offset in range(5)], now_at())
    rehearsal.receive(
        PARTITION,
        [make_record(5, value=b"{}"), make_record(6, value=make_record(0).value)],
        now_at(),
    )
    rehearsal.end(now_at())
    found = rehearsal.found
    assert (found.records, found.rows, found.duplicates, dict(found.rejected)) == (
        7,
        5,
        1,
        {"missing": 1},
    )
    assert found.duplicates_by_content == 1
    assert dict(found.flushes) == {"rows": 2, "drain": 1}
    (traffic,) = found.traffic.values()
    assert traffic.requests == 3
    header, first, *_ = traffic.sample.splitlines()
    assert header.startswith(b"application_id,profile_id,") and first.startswith(b"1111,user-0,")
    # Three bodies hold three headers, and the five rows have the same length.
    assert traffic.body_bytes == 3 * (len(header) + 1) + 5 * (len(first) + 1)


def test_settled_records_are_skipped() -> None:
    committed = {PARTITION: Position(2, encode(2, 0, [(3, 5)]))}
    rehearsal = Rehearsal(DryRun(settings()), committed)
    rehearsal.receive(PARTITION, [make_record(offset) for offset in range(6)], now_at())
    rehearsal.end(now_at())
    assert (rehearsal.found.settled_before, rehearsal.found.rows) == (4, 2)


def test_the_daily_rate_follows_from_the_records_timestamps() -> None:
    rehearsal = Rehearsal(DryRun(settings()), {})
    records = [
        FakeRecord(n, make_value(profile_id=f"u{n}"), timestamp=(UNIX_SECONDS + n * 864) * 1000)
        for n in range(101)
    ]
    rehearsal.receive(PARTITION, records, now_at())
    rehearsal.end(now_at())
    (traffic,) = rehearsal.found.traffic.values()
    assert traffic.rows_per_day == pytest.approx(101)

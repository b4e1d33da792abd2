"""The headers that the worker writes on records, and how they are read again."""

from __future__ import annotations

import pytest

from tests.builders import FakeRecord
from worker.core.wire.record_headers import (
    PARKED_PREFIX,
    REPLAYS,
    WRITTEN,
    origin,
    written_milliseconds,
)

PARKED = f"{PARKED_PREFIX}timestamp"
OWN_TIME = 1_700_000_009_000
Headers = list[tuple[str, bytes | None]]


@pytest.mark.parametrize(
    ("headers", "milliseconds"),
    [
        ([], OWN_TIME),
        ([("trace", b"5")], OWN_TIME),
        ([(PARKED, b"1700000000000")], 1_700_000_000_000),
        ([(REPLAYS, b"1"), (WRITTEN, b"1700000000000")], 1_700_000_000_000),
        # Parked after its replay: the parking has noted the time of the first.
        ([(WRITTEN, b"1700000000001"), (PARKED, b"1700000000000")], 1_700_000_000_000),
        # Anybody may write these names.
        ([(WRITTEN, None)], OWN_TIME),
        ([(WRITTEN, b"")], OWN_TIME),
        ([(WRITTEN, b"-1")], OWN_TIME),
        ([(WRITTEN, b"soon")], OWN_TIME),
        ([(WRITTEN, b"\xb2")], OWN_TIME),
        ([(WRITTEN, b"9" * 5000)], OWN_TIME),
    ],
    ids=str,
)
def test_the_time_of_a_copy_is_that_of_the_first(headers: Headers, milliseconds: int) -> None:
    record = FakeRecord(0, b"v", headers=headers, timestamp=OWN_TIME)
    assert written_milliseconds(record) == milliseconds


def test_the_origin_of_a_replay_has_the_time_of_the_first_record() -> None:
    headers = [(REPLAYS, b"1"), (WRITTEN, b"1700000000000")]
    replay = FakeRecord(7, b"v", headers=headers, timestamp=OWN_TIME)
    first = origin(replay, "films", 3)
    assert (first.topic, first.partition, first.offset) == (b"films", b"3", b"7")
    assert first.timestamp == b"1700000000000"

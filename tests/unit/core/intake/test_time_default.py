"""A route may give an event without a time the time of its record."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from tests.builders import (
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_event,
    make_rules,
    make_value,
    now_at,
)
from tests.unit.core.intake.reading import read, row_of
from worker.core.intake.framing import BYTE_ORDER_MARK
from worker.core.intake.intake import Intake
from worker.core.intake.rules import Form, RecordTime, TimeDefault, TimeUnit
from worker.core.model.fault import Reason
from worker.core.model.row import KeySource, Row
from worker.core.wire.record_headers import PARKED_PREFIX, REPLAYS, WRITTEN

NOW = UNIX_SECONDS


class TestDefaultOfTheRecord:
    RULES: ClassVar[dict[str, Any]] = {
        "time": RecordTime(TimeUnit.MILLISECONDS, default=TimeDefault.RECORD)
    }
    WRITTEN_AT = NOW - 7

    def row(
        self,
        value: bytes,
        headers: tuple[tuple[str, bytes | None], ...] = (),
        *,
        written: int = WRITTEN_AT * 1000 + 999,
        **rules: Any,
    ) -> Row:
        record = FakeRecord(3, value, headers=headers, timestamp=written)
        row = read(record, **(self.RULES | rules))
        assert isinstance(row, Row), row
        return row

    @pytest.mark.parametrize("absent", [..., None, ""])
    def test_an_event_without_a_time_has_that_of_its_record(self, absent: object) -> None:
        row = self.row(make_value(event_timestamp=absent))
        assert row.event_timestamp == self.WRITTEN_AT
        assert row.line == row_of(make_value(event_timestamp=self.WRITTEN_AT)).line

    def test_an_event_with_a_time_keeps_it_in_the_unit_of_the_route(self) -> None:
        assert self.row(make_value(event_timestamp=NOW * 1000)).event_timestamp == NOW

    def test_an_invalid_time_is_not_replaced(self) -> None:
        record = FakeRecord(3, make_value(event_timestamp="x"))
        assert [fault.reason for fault in read(record, **self.RULES).faults] == [  # type: ignore[union-attr]
            Reason.WRONG_TYPE
        ]

    @pytest.mark.parametrize("written", [-1, 0])
    def test_a_record_without_a_time_gives_none(self, written: int) -> None:
        record = FakeRecord(3, make_value(event_timestamp=...), timestamp=written)
        assert [fault.reason for fault in read(record, **self.RULES).faults] == [  # type: ignore[union-attr]
            Reason.MISSING
        ]

    def test_the_time_of_a_record_must_be_in_the_window(self) -> None:
        record = FakeRecord(3, make_value(event_timestamp=...), timestamp=1000)
        (fault,) = read(record, **self.RULES).faults  # type: ignore[union-attr]
        assert (fault.reason, fault.field) == (Reason.TOO_OLD, "event_timestamp")

    def test_the_time_of_a_cloud_event_comes_before_that_of_its_record(self) -> None:
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", b"1"),
            ("ce_source", b"/s"),
            ("ce_type", b"t"),
        )
        value = make_value(event_timestamp=...)
        clouds: dict[str, Any] = {"form": Form.CLOUDEVENTS}
        time = ("ce_time", b"2023-11-14T22:13:19.9Z")
        assert self.row(value, (*headers, time), **clouds).event_timestamp == NOW - 1
        assert self.row(value, headers, **clouds).event_timestamp == self.WRITTEN_AT

    def test_two_records_of_one_second_are_two_events(self) -> None:
        """Without a time of its own, the same content may be right twice."""
        value = make_value(event_timestamp=...)
        first, second = (
            Intake(make_rules(**self.RULES)).read(
                make_assignment(), [FakeRecord(offset, value)], now_at()
            )[0][0]
            for offset in (0, 1)
        )
        assert first.key != second.key
        assert first.key_source is KeySource.RECORD
        assert self.row(make_value(event_timestamp=NOW * 1000)).key_source is KeySource.CONTENT
        keyed: dict[str, Any] = {"key_header": "event-id"}
        assert self.row(value, (("event-id", b"1"),), **keyed).key_source is KeySource.KEY

    @pytest.mark.parametrize(
        "headers",
        [
            ((f"{PARKED_PREFIX}timestamp", b"%d" % (WRITTEN_AT * 1000)),),
            ((REPLAYS, b"1"), (WRITTEN, b"%d" % (WRITTEN_AT * 1000))),
        ],
        ids=["parked", "replayed"],
    )
    def test_a_copy_of_the_record_has_the_time_of_the_first(
        self, headers: tuple[tuple[str, bytes | None], ...]
    ) -> None:
        row = self.row(make_value(event_timestamp=...), headers, written=NOW * 1000)
        assert row.event_timestamp == self.WRITTEN_AT

    def test_an_envelope_dates_what_is_in_it(self) -> None:
        value = json.dumps({"type": "events", "data": make_event(event_timestamp=...)}).encode()
        assert self.row(value, form=Form.ENVELOPE).event_timestamp == self.WRITTEN_AT

    def test_a_byte_order_mark_changes_nothing(self) -> None:
        row = self.row(BYTE_ORDER_MARK + make_value(event_timestamp=...))
        assert row.event_timestamp == self.WRITTEN_AT

    def test_other_faults_are_listed_without_that_of_the_time(self) -> None:
        record = FakeRecord(3, make_value(event_timestamp=..., mcc="x"))
        assert [fault.field for fault in read(record, **self.RULES).faults] == ["mcc"]  # type: ignore[union-attr]

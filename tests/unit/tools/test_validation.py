"""What the worker would do with the records of files."""

from __future__ import annotations

from tests.builders import make_value, now_at
from tests.unit.tools.stored import settings
from worker.core.model.row import Row
from worker.tools.file_formats import FileRecord, Unreadable
from worker.tools.validation import DryRun, Validation
from worker.tools.validation_report import RecordResult, Summary

ROUTES = "[{topic: films}, {topic: games, unknown_fields: ignore}]"


class Outcome:
    """Everything that a validation hands out."""

    def __init__(
        self, *, is_routed: bool = True, is_each: bool = False, routes: str = ROUTES
    ) -> None:
        self.results: list[RecordResult] = []
        self.rows: list[Row] = []
        self._validation = Validation(
            DryRun(settings(routes=routes)),
            "films",
            is_routed=is_routed,
            is_each=is_each,
            take=self.results.append,
            take_rows=self.rows.extend,
        )

    def validate(self, *chunk: FileRecord | Unreadable) -> Summary:
        self._validation.validate(chunk, now_at())
        return self._validation.summary


def test_records_are_delivered_duplicates_or_bad() -> None:
    outcome = Outcome()
    outcome.validate(
        FileRecord(1, make_value()), FileRecord(2, make_value()), Unreadable(3, "no record")
    )
    summary = outcome.validate(
        FileRecord(4, make_value()), FileRecord(5, make_value(event_name=..., mcc=2**64))
    )
    assert (summary.records, summary.delivered, summary.duplicates, summary.bad) == (5, 1, 2, 2)
    assert summary.duplicates_by_content == 2
    assert summary.by_reason == {"unreadable": 1, "missing": 1}
    assert [(one.line, [fault.reason for fault in one.faults]) for one in outcome.results] == [
        (3, ["unreadable"]),
        (5, ["missing", "out_of_range"]),
    ]


def test_each_record_has_a_verdict_where_that_is_wanted_in_the_order_of_the_file() -> None:
    outcome = Outcome(is_each=True)
    outcome.validate(FileRecord(1, b"{}"), FileRecord(2, make_value()), FileRecord(3, make_value()))
    assert [one.document()["ending"] for one in outcome.results] == [
        "dead-lettered",
        "delivered",
        "duplicate",
    ]
    assert outcome.results[1].key == outcome.results[2].key is not None


def test_a_record_is_validated_by_the_route_of_its_topic() -> None:
    value = make_value(more=1)
    routed = Outcome().validate(
        FileRecord(1, value, topic="games"),
        FileRecord(2, value, topic="films"),
        FileRecord(3, value),
    )
    assert (routed.delivered, routed.bad) == (1, 2)
    assert Outcome(is_routed=False).validate(FileRecord(1, value, topic="games")).bad == 1


def test_what_would_be_sent_is_the_body_of_a_request() -> None:
    outcome = Outcome()
    outcome.validate(FileRecord(1, make_value(event_name="one")))
    (row,) = outcome.rows
    assert row.line.startswith(b"1111,user-1,one,1700000000,")


def test_what_the_route_does_not_select_is_skipped_and_no_fault() -> None:
    routes = "[{topic: films, select: {$.event_name: [purchase]}, tombstones: skip}]"
    outcome = Outcome(is_each=True, routes=routes)
    summary = outcome.validate(
        FileRecord(1, make_value()),
        FileRecord(2, make_value(event_name="other")),
        FileRecord(3, None),
        FileRecord(4, b"no JSON"),
    )
    assert (summary.records, summary.delivered, summary.skipped, summary.bad) == (4, 1, 2, 1)
    assert [one.document()["ending"] for one in outcome.results] == [
        "delivered",
        "skipped, not_selected",
        "skipped, tombstone",
        "dead-lettered",
    ]


def test_a_record_of_a_file_without_times_is_written_now() -> None:
    outcome = Outcome(routes="[{topic: films, time: {default: record}}]")
    value = make_value(event_timestamp=...)
    outcome.validate(
        FileRecord(1, value), FileRecord(2, value, timestamp=1_699_999_999_000), FileRecord(3, b"{")
    )
    assert [row.event_timestamp for row in outcome.rows] == [1_700_000_000, 1_699_999_999]
    assert [one.line for one in outcome.results] == [3]

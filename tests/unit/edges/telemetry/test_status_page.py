"""The document of the page: short lists, whatever the worker holds; and the page's files."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from tests.builders import make_assignment
from tests.readings import make_reading
from worker.core.counters.snapshot import PartitionStatus
from worker.core.model.record import End, TopicPartition
from worker.edges.telemetry.redaction import plain
from worker.edges.telemetry.status_page import (
    CHARACTERS_MAX,
    DIRECTORY,
    PARTITIONS_MAX,
    page_document,
)


def document(**changes: object) -> dict[str, Any]:
    """The document as the browser reads it."""
    served = orjson.loads(orjson.dumps(plain(page_document(make_reading(**changes)))))
    assert isinstance(served, dict)
    return served


def test_the_history_dead_letters_and_totals_are_added() -> None:
    served = document()
    assert served["history"]["received_per_second"] == [2.0, 4.0]
    assert served["dead_letters"] == {"missing": 7}
    assert served["totals"]["received"] == 100


def test_a_partition_in_trouble_comes_first_and_one_that_drains_next() -> None:
    partitions = document()["partitions"]
    assert [(one["topic"], one["partition"], one["trouble"]) for one in partitions] == [
        ("offline-events", 4, "no leader"),
        ("offline-events.parked", 0, None),
        ("offline-events", 3, None),
    ]


def test_of_a_thousand_partitions_those_in_trouble_and_with_the_largest_lag_are_shown() -> None:
    partitions = tuple(
        PartitionStatus(make_assignment(number), 10, 10, 10, 0, is_paused=False, is_draining=False)
        for number in range(1000)
    )
    ends = {
        one.assignment: End(10 + one.assignment.partition, 1010, unix_seconds=3.0)
        for one in partitions
    }
    served = document(
        partitions=partitions,
        ends=ends,
        partition_errors={TopicPartition("offline-events", 5): "x" * 10_000},
    )
    shown = served["partitions"]
    assert (len(shown), served["partition_count"]) == (PARTITIONS_MAX, 1000)
    assert [one["partition"] for one in shown[:3]] == [5, 999, 998]
    assert len(shown[0]["trouble"]) == CHARACTERS_MAX
    assert len(orjson.dumps(served)) < 100_000


def test_an_error_is_one_text_of_bounded_length() -> None:
    reading = make_reading()
    fields = {
        "ts": "2026-11-28T10:00:00Z",
        "level": "error",
        "event": "odd",
        "detail": "x" * 10_000,
    }
    reading.logs.note(orjson.dumps(fields).decode())
    newest, before = plain_list(page_document(reading)["last_errors"])
    assert (newest["event"], newest["level"], before["event"]) == ("odd", "error", "commit_failed")
    assert newest["fields"] == ("detail=" + "x" * 10_000)[:CHARACTERS_MAX]
    assert (newest["action"], "action=" in before["fields"]) == ("", False)
    assert before["action"].endswith("check the brokers and the rights of the group.")


def plain_list(value: object) -> list[dict[str, str]]:
    assert isinstance(value, list)
    return value


FILES = sorted(path.name for path in DIRECTORY.iterdir())


def test_the_page_has_no_inline_script_or_style_and_loads_nothing_external() -> None:
    html = (DIRECTORY / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", html) == []
    for name in FILES:
        text = (DIRECTORY / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"(?:https?:)?//[a-z]", text) == [], name


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_no_script_writes_html(name: str) -> None:
    text = (DIRECTORY / name).read_text()
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text) == []

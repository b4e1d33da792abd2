"""The events of the bench are what the documents say of them."""

from __future__ import annotations

import statistics

import orjson
import pytest

from bench.core_shell import settings
from bench.events import DESTINATIONS, RICH, SHAPES, SMALL, TEMPLATES, events, valid_rows
from bench.profile import table
from tests.builders import UNIX_SECONDS, FakeRecord, make_assignment, make_rules, now_at
from worker.core.intake.intake import Intake
from worker.core.model.row import Row
from worker.core.post_api.resource import RESOURCES


def read(name: str, count: int) -> tuple[list[Row], int]:
    """The rows of events of a shape, and how many were rejected."""
    resource = RESOURCES.get(name, RESOURCES["events"])
    applications = frozenset({1111, 2222, 3333, *range(7001, 7021)})
    intake = Intake(make_rules(resource=resource, applications=applications))
    values = events(SHAPES[name], count, now=UNIX_SECONDS)
    records = [FakeRecord(number, value) for number, value in enumerate(values)]
    rows, rejections = intake.read(make_assignment(), records, now_at())
    return rows, len(rejections)


@pytest.mark.parametrize("name", SHAPES)
def test_the_worker_accepts_all_events_but_those_that_are_meant_to_be_invalid(name: str) -> None:
    count = TEMPLATES + 700
    rows, rejected = read(name, count)
    assert len(rows) == valid_rows(SHAPES[name], count)
    assert len(rows) + rejected == count
    assert len({row.key for row in rows}) == len(rows)


def test_rich_events_have_the_size_and_the_shares_that_are_stated() -> None:
    made = list(events(RICH, TEMPLATES, now=UNIX_SECONDS))
    assert 530 < statistics.mean(map(len, made)) < 560
    assert 290 < statistics.mean(map(len, events(SMALL, TEMPLATES, now=UNIX_SECONDS))) < 320
    rows, rejected = read("rich", TEMPLATES)
    assert rejected == TEMPLATES * RICH.invalid_share
    assert len({row.destination for row in rows}) == len(DESTINATIONS)
    valid = [orjson.loads(row.record.value or b"") for row in rows]
    shares = {
        "address": sum("device_ipv6" in event for event in valid) / len(valid),
        "text": sum(isinstance(event["event_json"], str) for event in valid) / len(valid),
        "comma": sum("," in event["device_model"] for event in valid) / len(valid),
    }
    assert shares == pytest.approx({"address": 0.3, "text": 0.4, "comma": 0.4}, abs=0.05)


def test_the_shell_of_the_stages_knows_the_applications_of_the_events() -> None:
    applications = settings().appmetrica.applications
    assert {application for application, *_ in DESTINATIONS} <= applications.keys()


def test_a_profile_counts_a_function_once_and_no_waiting() -> None:
    stacks = ["main (a.py:1);walk (a.py:2);walk (a.py:2) 3", "main (a.py:1) 1"]
    waiting = "main (a.py:1);select_epoll_poll_impl (selectmodule.c:9) 90"
    assert table([*stacks, waiting], 5).splitlines()[1:] == [
        " 75.0%  75.0%  walk (a.py)",
        " 25.0% 100.0%  main (a.py)",
    ]

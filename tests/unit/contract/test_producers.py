"""The producer of all resources: the worker accepts its records by the routes on the page."""

from __future__ import annotations

import json
import re
import runpy
import textwrap
import time
from typing import Any

import pytest
import yaml

from tests.builders import FakeRecord, make_assignment, make_rules, now_at
from tests.unit.contract.files import PAGE, PRODUCERS
from tests.unit.contract.judging import schema_takes
from worker.core.intake.intake import Intake
from worker.core.post_api.resource import RESOURCES

RECORDS: list[tuple[str, dict[str, Any]]] = runpy.run_path(str(PRODUCERS / "all_resources.py"))[
    "records"
]()


def routes() -> dict[str, str]:
    """The resource of each topic in the routes that the page shows before the producer."""
    section = PAGE.read_text(encoding="utf-8").partition("### Python, all resources")[2]
    text = re.search(r"^    routes:\n(?:      .*\n)+", section, re.MULTILINE)
    assert text is not None
    return {
        one["topic"]: one["resource"] for one in yaml.safe_load(textwrap.dedent(text[0]))["routes"]
    }


def test_the_routes_have_every_resource_and_every_topic_of_the_producer() -> None:
    assert sorted(routes().values()) == sorted(RESOURCES)
    assert routes().keys() == {topic for topic, _ in RECORDS}


@pytest.mark.parametrize(("topic", "value"), RECORDS)
def test_schema_and_worker_take_each_record(topic: str, value: dict[str, Any]) -> None:
    resource = routes()[topic]
    text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    rules = make_rules(resource=RESOURCES[resource], key_header="event-id")
    (row,), rejections = Intake(rules).read(
        make_assignment(), [FakeRecord(1, text)], now_at(unix_start=time.time())
    )
    assert (rejections, row.destination.resource) == ([], resource)
    assert schema_takes(resource, text)

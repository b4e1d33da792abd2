"""The AsyncAPI document: in order by AsyncAPI's own schema, and true of the worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.builders import (
    APPLICATION_ID,
    UNIX_SECONDS,
    FakeRecord,
    make_assignment,
    make_event,
    make_rules,
    now_at,
)
from tests.unit.contract.judging import FORMATS, Validator
from worker.contract.asyncapi import asyncapi_document
from worker.contract.texts import asyncapi_json, asyncapi_yaml
from worker.core.intake.intake import Intake
from worker.core.intake.rules import Form
from worker.core.model.fault import Rejection
from worker.core.post_api.resource import RESOURCES
from worker.edges.kafka.stored_records import dead_letter_headers
from worker.settings.schema import Settings

DOCUMENT = asyncapi_document()
META_SCHEMA = Path(__file__).parent / "asyncapi-3.0.0.schema.json"
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
TIMELESS = make_event(event_timestamp=...)


def faults_of_document(document: object) -> list[str]:
    """What AsyncAPI's own schema finds wrong with a document."""
    schema = json.loads(META_SCHEMA.read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


def references(part: Any) -> Iterator[str]:
    """Every `$ref` in the document."""
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from [inner] if name == "$ref" and isinstance(inner, str) else references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def schema_takes(name: str, value: object) -> bool:
    """True if one of the document's schemas finds nothing wrong with the value."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return bool(Validator(schema, format_checker=FORMATS).is_valid(value))


def worker_takes(
    form: Form, value: object, record_headers: tuple[tuple[str, bytes], ...] = ()
) -> bool:
    """True if the worker's real intake, in this form, takes the value."""
    record = FakeRecord(0, json.dumps(value).encode(), headers=record_headers)
    rows, _ = Intake(make_rules(form=form)).read(make_assignment(), [record], now_at())
    return bool(rows)


def test_it_is_in_order_by_the_schema_of_asyncapi() -> None:
    assert faults_of_document(DOCUMENT) == []


@pytest.mark.parametrize("part", ["info", "channels", "operations"])
def test_that_schema_would_notice(part: str) -> None:
    assert faults_of_document({**DOCUMENT, part: {"nonsense": 1}})


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        here: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            here = here[name]


def test_yaml_and_json_hold_the_same_document() -> None:
    assert yaml.safe_load(asyncapi_yaml()) == json.loads(asyncapi_json()) == DOCUMENT


def test_the_topics_of_events_and_dead_letters_are_the_defaults() -> None:
    properties = Settings.model_json_schema()["$defs"]["DeadLetter"]["properties"]
    assert DOCUMENT["channels"]["deadLetters"]["address"] == properties["topic"]["default"]
    assert DOCUMENT["channels"]["events"]["address"] == "offline-events"


def test_every_resource_has_a_channel_a_message_and_a_schema() -> None:
    for name in RESOURCES:
        assert DOCUMENT["channels"][name]["messages"] == {
            name: {"$ref": f"#/components/messages/{name}"}
        }
        assert DOCUMENT["components"]["messages"][name]["payload"] == {
            "$ref": f"#/components/schemas/{name}"
        }


def test_the_headers_of_dead_letters_are_those_that_are_written() -> None:
    _, (rejection,) = Intake(make_rules()).read(make_assignment(), [FakeRecord(0, b"{}")], now_at())
    assert isinstance(rejection, Rejection)
    headers_schema = DOCUMENT["components"]["messages"]["deadLetter"]["headers"]
    assert (
        list(headers_schema["properties"])
        == headers_schema["required"]
        == [name for name, _ in dead_letter_headers(rejection, "1")]
    )


@pytest.mark.parametrize(
    ("name", "form"),
    [("envelope", Form.ENVELOPE), ("cloudEventStructured", Form.CLOUDEVENTS)],
    ids=str,
)
def test_the_example_of_a_wrapped_event_is_taken_by_schema_and_worker(
    name: str, form: Form
) -> None:
    message = DOCUMENT["components"]["messages"][name]
    (example,) = message["examples"]
    assert schema_takes(message["payload"]["$ref"].rpartition("/")[2], example["payload"])
    assert worker_takes(form, example["payload"])


@pytest.mark.parametrize(
    ("envelope", "is_taken"),
    [
        ({"type": "events", "data": make_event()}, True),
        (
            {
                "type": "profiles",
                "data": {"application_id": APPLICATION_ID, "profile_id": "u", "attributes": {}},
            },
            True,
        ),
        ({"type": "events", "data": make_event(event_name="")}, False),
        ({"type": "revenue", "data": make_event()}, False),
        ({"type": "clicks", "data": make_event()}, False),
        ({"type": None, "data": make_event()}, False),
        ({"data": make_event()}, False),
        ({"type": "events"}, False),
        ({"type": "events", "data": None}, False),
        ({"type": "events", "data": make_event(), "more": 1}, False),
        ([], False),
    ],
)
def test_schema_and_worker_agree_on_envelopes(envelope: object, is_taken: bool) -> None:
    assert (schema_takes("envelope", envelope), worker_takes(Form.ENVELOPE, envelope)) == (
        is_taken,
        is_taken,
    )


@pytest.mark.parametrize(
    ("event", "is_taken"),
    [
        ({**CLOUD_EVENT, "data": make_event()}, True),
        (
            {
                **CLOUD_EVENT,
                "data": make_event(),
                "subject": "s",
                "datacontenttype": None,
                "time": None,
            },
            True,
        ),
        ({**CLOUD_EVENT, "data": TIMELESS, "time": "2023-11-14T22:13:20Z"}, True),
        (
            {
                **CLOUD_EVENT,
                "data": make_event(event_timestamp=""),
                "time": "2023-11-14T22:13:20+00:00",
            },
            True,
        ),
        ({**CLOUD_EVENT, "data": None, "data_base64": "e30="}, False),
        ({**CLOUD_EVENT, "data": TIMELESS}, False),
        ({**CLOUD_EVENT, "data": TIMELESS, "time": None}, False),
        ({**CLOUD_EVENT, "data": make_event(), "time": 1700000000}, False),
        ({**CLOUD_EVENT, "data": make_event(), "time": ""}, False),
        ({**CLOUD_EVENT, "data": make_event(), "specversion": "0.3"}, False),
        ({**CLOUD_EVENT, "data": make_event(), "id": ""}, False),
        ({**CLOUD_EVENT, "data": make_event(colour="red")}, False),
        ({"specversion": "1.0", "data": make_event()}, False),
        (CLOUD_EVENT, False),
    ],
)
def test_schema_and_worker_agree_on_cloud_events(event: object, is_taken: bool) -> None:
    assert (schema_takes("cloudEvent", event), worker_takes(Form.CLOUDEVENTS, event)) == (
        is_taken,
        is_taken,
    )


def test_a_binary_cloud_event_dates_an_event_without_a_time() -> None:
    binary = tuple(
        (f"ce_{name}", text.encode())
        for name, text in {**CLOUD_EVENT, "time": "2023-11-14T22:13:20Z"}.items()
    )
    assert schema_takes("eventDatedByCloudEvent", TIMELESS)
    assert worker_takes(Form.CLOUDEVENTS, TIMELESS, binary)
    wrong = make_event(event_timestamp=UNIX_SECONDS * 1000)
    assert not schema_takes("eventDatedByCloudEvent", wrong)
    assert not worker_takes(Form.CLOUDEVENTS, wrong, binary)

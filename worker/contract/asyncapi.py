"""The whole contract as one AsyncAPI document: topics, what is read from them, what is written.

Topic names are examples: an installation names its own topics in `routes`.

Source: AsyncAPI 3.0.0 and its Kafka bindings; CloudEvents 1.0.2 with its Kafka Protocol Binding.
"""

from __future__ import annotations

from typing import Any

from worker.contract.json_schema import event_schema, example_of
from worker.contract.wrappings import (
    DATED_EVENT,
    cloud_event_headers,
    cloud_event_schema,
    envelope_schema,
)
from worker.core.post_api.resource import EVENTS, RESOURCES, Resource
from worker.core.wire.record_headers import ERRORS_PREFIX

ASYNCAPI_VERSION = "3.0.0"
# Major: `json_schema.VERSION`.
CONTRACT_VERSION = "1.0.0"

Part = dict[str, Any]

# The header that the producers in docs/producers write: the default of dedup.key_header.
_KEY_HEADER = "event-id"
_JSON = "application/json"
_KEY = {
    "type": "string",
    "description": "The user of the event: its profile_id or appmetrica_device_id. Then an event "
    "and its repetition are in "
    "the same partition, and the worker recognises the repetition.",
}


def asyncapi_document() -> Part:
    """The document, as data that JSON and YAML can both express."""
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "AppMetrica offline events",
            "version": CONTRACT_VERSION,
            "description": "What producers send to appmetrica-worker, and what it writes itself. "
            "Topics are named in its "
            "configuration (routes, dead_letter); the names here are examples. Generated from "
            "the resources' tables.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _channels() -> Part:
    channels = {
        name: _channel(
            f"offline-{name}", f"{resource.description}: a route with resource {name}.", [name]
        )
        for name, resource in RESOURCES.items()
    }
    return channels | {
        "envelopes": _channel(
            "offline-imports",
            "Records of any resource: a route with form envelope. Each record names its own.",
            ["envelope"],
        ),
        "cloudEvents": _channel(
            "offline-cloudevents",
            "CloudEvents 1.0, binary or structured, here around events: a route with form "
            "cloudevents. Source and id are the "
            "deduplication key.",
            ["cloudEventBinary", "cloudEventStructured"],
        ),
        "deadLetters": _channel(
            "offline-events.dlq",
            "Records that can't be delivered, with the reasons in their headers.",
            ["deadLetter"],
        ),
    }


def _channel(address: str, description: str, messages: list[str]) -> Part:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _operations() -> Part:
    def operation(action: str, channel: str, summary: str) -> Part:
        return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}

    received = {
        f"receive_{name}": operation("receive", name, f"Read records of {name} and deliver them.")
        for name in RESOURCES
    }
    return received | {
        "receive_envelopes": operation(
            "receive", "envelopes", "Read records of all resources and deliver them."
        ),
        "receive_cloud_events": operation(
            "receive", "cloudEvents", "Read CloudEvents and deliver their events."
        ),
        "send_dead_letters": operation("send", "deadLetters", "Write what can't be delivered."),
    }


def _messages() -> Part:
    plain = {name: _plain_message(resource) for name, resource in RESOURCES.items()}
    return plain | {
        "envelope": _message(
            "Any resource in an envelope",
            {"$ref": "#/components/schemas/envelope"},
            {"type": "revenue", "data": example_of(RESOURCES["revenue"])},
        ),
        "cloudEventBinary": _message(
            "An event as a CloudEvent in binary mode",
            {"$ref": f"#/components/schemas/{DATED_EVENT}"},
            example_of(EVENTS),
        )
        | {"headers": cloud_event_headers()},
        "cloudEventStructured": _message(
            "An event as a CloudEvent in structured mode",
            {"$ref": "#/components/schemas/cloudEvent"},
            {
                "specversion": "1.0",
                "id": "8f2c",
                "source": "/tv-app",
                "type": "film.watched",
                "data": example_of(EVENTS),
            },
        )
        | {"contentType": "application/cloudevents+json"},
        "deadLetter": _dead_letter(),
    }


def _plain_message(resource: Resource) -> Part:
    message = _message(
        f"A record of {resource.name}",
        {"$ref": f"#/components/schemas/{resource.name}"},
        example_of(resource),
    )
    described = (
        "The event's id: the same for each repetition of the event, and unique within topic, "
        "resource and application. A route's dedup settings may name another place. Without an "
        "id, the content of an event with a time is its key."
    )
    return message | {
        "headers": {
            "type": "object",
            "properties": {
                _KEY_HEADER: {"type": "string", "minLength": 1, "description": described}
            },
        }
    }


def _message(title: str, payload: Part, example: object) -> Part:
    return {
        "title": title,
        "contentType": _JSON,
        "payload": payload,
        "bindings": {"kafka": {"key": _KEY}},
        "examples": [{"name": "smallest", "payload": example}],
    }


def _dead_letter() -> Part:
    return {
        "title": "A dead letter",
        "summary": (
            "The record's own key, value and headers, and headers with the reasons why it "
            "can't be delivered."
        ),
        "headers": {
            "type": "object",
            "properties": {
                ERRORS_PREFIX + name: {"type": "string", "description": text}
                for name, text in _DEAD_LETTER_HEADERS.items()
            },
            "required": [ERRORS_PREFIX + name for name in _DEAD_LETTER_HEADERS],
        },
        "payload": {"description": "The unchanged value of the record."},
    }


_DEAD_LETTER_HEADERS = {
    "reason": "The first fault's reason code.",
    "detail": (
        "Every fault, as a JSON list of objects with reason, field, message, expected, found."
    ),
    "topic": "Where the record was first received: the topic,",
    "partition": "the partition,",
    "offset": "the offset,",
    "timestamp": "and its time in Unix milliseconds.",
    "http_status": "The HTTP status of the API's answer to this row; empty if there was none.",
    "worker_version": "The version of the worker that wrote it.",
    "replays": "The number of replays of the record.",
}


def _schemas() -> Part:
    events = {name: event_schema(resource) for name, resource in RESOURCES.items()}
    return events | {
        "envelope": envelope_schema(),
        DATED_EVENT: event_schema(EVENTS, is_dated_by_wrapping=True),
        "cloudEvent": cloud_event_schema(),
    }

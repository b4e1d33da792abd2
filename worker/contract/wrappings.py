"""The schemas of the wrappings: an envelope, and a CloudEvent in both modes.

Source: CloudEvents 1.0.2 with its Kafka Protocol Binding.
"""

from __future__ import annotations

from worker.contract.json_schema import Schema
from worker.core.post_api.resource import RESOURCES

# The name of the schema of an event that has no time of its own in a CloudEvent that has one.
DATED_EVENT = "eventDatedByCloudEvent"


def envelope_schema() -> Schema:
    """An envelope: `type` names the resource of `data`."""
    return {
        "title": "An envelope",
        "type": "object",
        "oneOf": [
            {
                "properties": {
                    "type": {"const": name},
                    "data": {"$ref": f"#/components/schemas/{name}"},
                }
            }
            for name in RESOURCES
        ],
        "properties": {
            "type": {"type": "string", "enum": list(RESOURCES), "description": "The resource."},
            "data": {"description": "The event, as a record of that resource."},
        },
        "required": ["type", "data"],
        "additionalProperties": False,
    }


def _attributes() -> dict[str, Schema]:
    def text(description: str) -> Schema:
        return {"type": "string", "minLength": 1, "description": description}

    return {
        "specversion": {"type": "string", "const": "1.0"},
        "id": text("Unique for its source. With the source it is the deduplication key."),
        "source": text("The source of the event."),
        "type": text("The kind of the event; the worker ignores it."),
        "time": {
            "type": "string",
            "minLength": 1,
            "format": "date-time",
            "description": (
                "The default event_timestamp of the event, without fractions of a second."
            ),
        },
    }


_REQUIRED_ATTRIBUTES = ["specversion", "id", "source", "type"]


def cloud_event_headers() -> Schema:
    """The headers of a CloudEvent in the binary mode."""
    return {
        "type": "object",
        "properties": {f"ce_{name}": schema for name, schema in _attributes().items()}
        | {
            "content-type": {
                "type": "string",
                "description": "application/json, or another JSON content type.",
            }
        },
        "required": [f"ce_{name}" for name in _REQUIRED_ATTRIBUTES],
    }


def cloud_event_schema() -> Schema:
    """A CloudEvent in the structured mode."""

    def data(schema: str) -> Schema:
        return {"properties": {"data": {"$ref": f"#/components/schemas/{schema}"}}}

    attributes = _attributes()
    return {
        "title": "A CloudEvent in structured mode",
        "description": "Extension attributes are ignored.",
        "type": "object",
        "properties": {
            **attributes,
            "time": {**attributes["time"], "type": ["string", "null"]},
            "datacontenttype": {
                "type": ["string", "null"],
                "description": "A JSON content type; optional.",
            },
            "data": {"description": "The event."},
            "data_base64": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "The event's JSON, instead of data.",
            },
        },
        "required": _REQUIRED_ATTRIBUTES,
        "oneOf": [
            {"required": ["data"]},
            {"required": ["data_base64"], "not": {"required": ["data"]}},
        ],
        "if": {"required": ["time"], "properties": {"time": {"type": "string"}}},
        "then": data(DATED_EVENT),
        "else": data("events"),
    }

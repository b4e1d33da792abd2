"""A resource's table as a JSON Schema.

It takes what the intake takes of a plain JSON object, as far as JSON Schema can tell (`beyond.py`
has the rest): absent, null and an empty string are the same; integers and decimals may come as
text. No `$ref`s, and no keyword younger than draft-07 but `contentSchema`, which older readers pass
over: so an AsyncAPI document can hold it as it is.

Source: JSON Schema 2020-12, core and validation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from worker.contract import patterns
from worker.contract.beyond import comment
from worker.core.intake.fields import DIGITS_MAX, MILLISECONDS_FROM
from worker.core.post_api.column import DECIMAL_CHARACTERS_MAX, Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity, Resource

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Of the contract, not of this program: it changes when a record that was in order is so no more.
VERSION = "v1"
_ABSENT: tuple[str | None, ...] = ("", None)

Schema = dict[str, Any]


def schema_of(resource: Resource) -> Schema:
    """The whole document for one resource."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:appmetrica-worker:{VERSION}:{resource.name}",
        **event_schema(resource),
    }


def event_schema(resource: Resource, *, is_dated_by_wrapping: bool = False) -> Schema:
    """The schema of an event itself, as a part of other documents.

    Args:
        resource: whose events they are.
        is_dated_by_wrapping: the event needs no time of its own, because a CloudEvent around it
            says one.
    """
    first, *others = resource.columns
    columns = (first, *IDENTITY_COLUMNS.values(), *others)
    needs_no = {Kind.TIMESTAMP} if is_dated_by_wrapping else set()
    required = [
        column.name for column in columns if column.required and column.kind not in needs_no
    ]
    return {
        "title": f"A record of {resource.name}",
        "description": (
            f"{resource.description}. One JSON object per record; absent, null and an "
            "empty string are the same."
        ),
        "$comment": f"Not checked by this schema, but refused by the worker: {comment(None)}",
        "type": "object",
        "required": required,
        "oneOf": [_named_by(identity) for identity in Identity],
        "properties": {
            column.name: _property(column, is_required=column.name in required)
            for column in columns
        },
        "additionalProperties": False,
        "examples": [example_of(resource)],
    }


def example_of(resource: Resource) -> dict[str, object]:
    """The smallest event that is in order, made of the columns' own examples."""
    first, *others = resource.columns
    columns = [
        first,
        IDENTITY_COLUMNS[Identity.PROFILE_ID],
        *(column for column in others if column.required),
    ]
    return {column.name: json.loads(column.example) for column in columns}


def _named_by(identity: Identity) -> Schema:
    """Exactly one of the pair: this one is there, and the other one isn't, or is null or empty."""
    (other,) = (one for one in Identity if one is not identity)
    return {
        "title": f"named by {identity}",
        "required": [identity.value],
        "properties": {
            identity.value: {"not": {"enum": list(_ABSENT)}},
            other.value: {"enum": list(_ABSENT)},
        },
    }


def _property(column: Column, *, is_required: bool) -> Schema:
    said: Schema = {"description": _description(column), "examples": _examples(column)}
    beyond = comment(column.kind)
    if beyond:
        said["$comment"] = f"Not checked by this schema: {beyond}"
    if column.default is not None:
        said["default"] = (
            json.loads(column.default) if column.kind is Kind.INTEGER else column.default
        )
    if column.kind is Kind.STRING:
        return said | (
            {"type": "string", "minLength": 1} if is_required else {"type": ["string", "null"]}
        )
    ways = _WAYS[column.kind](column)
    return said | {"anyOf": ways if is_required else [*ways, {"enum": list(_ABSENT)}]}


def _description(column: Column) -> str:
    text = f"{column.description}."
    if column.kind is Kind.IPV6:
        # Formats are only annotations to many validators.
        text += " An IPv6 or IPv4 address, without a zone."
    if column.known:
        text += f" Known values: {', '.join(column.known)}; others are delivered and counted."
    return text


def _examples(column: Column) -> list[object]:
    example = json.loads(column.example)
    return [example, *(one for one in column.known if one != example)]


def _integer(column: Column) -> list[Schema]:
    return _whole(column.minimum, column.maximum)


def _timestamp(column: Column) -> list[Schema]:
    return _whole(column.minimum, MILLISECONDS_FROM - 1)


def _whole(minimum: int, maximum: int) -> list[Schema]:
    return [
        {"type": "integer", "minimum": minimum, "maximum": maximum},
        # Only digits: JavaScript can't write an integer above 2^53 as a number.
        {"type": "string", "pattern": patterns.digits(minimum, maximum), "maxLength": DIGITS_MAX},
    ]


def _decimal(_: Column) -> list[Schema]:
    return [
        {"type": "number"},
        {"type": "string", "pattern": patterns.DECIMAL_TEXT, "maxLength": DECIMAL_CHARACTERS_MAX},
    ]


def _object(_: Column) -> list[Schema]:
    return _object_or_text({"type": "object"})


def _attributes(_: Column) -> list[Schema]:
    return _object_or_text(
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    )


def _object_or_text(schema: Schema) -> list[Schema]:
    in_text = {"contentMediaType": "application/json", "contentSchema": schema}
    return [schema, {"type": "string", "pattern": patterns.OBJECT_TEXT, **in_text}]


def _array(_: Column) -> list[Schema]:
    return [
        {"type": "array", "items": {"type": "string", "pattern": patterns.ELEMENT}},
        {"type": "string", "pattern": patterns.ARRAY_TEXT},
    ]


def _session_type(_: Column) -> list[Schema]:
    return [{"type": "string", "enum": ["foreground", "background"]}]


def _address(_: Column) -> list[Schema]:
    return [{"type": "string", "format": "ipv6"}, {"type": "string", "format": "ipv4"}]


# How a value of each kind may be written. None of these takes an empty text.
_WAYS: dict[Kind, Callable[[Column], list[Schema]]] = {
    Kind.INTEGER: _integer,
    Kind.TIMESTAMP: _timestamp,
    Kind.DECIMAL: _decimal,
    Kind.JSON_OBJECT: _object,
    Kind.ATTRIBUTES: _attributes,
    Kind.ARRAY: _array,
    Kind.SESSION_TYPE: _session_type,
    Kind.IPV6: _address,
}

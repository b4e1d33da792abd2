"""A resource's table as a JSON Schema.

It accepts what the intake accepts of a plain JSON object, as far as JSON Schema can express it
(`beyond.py` has the rest): absent, null and an empty string are the same; integers and decimals may
be text. No `$ref`s, and no keyword younger than draft-07 but `contentSchema`, which older readers
ignore: so an AsyncAPI document can include it unchanged.

Patterns use only what all engines have: JSON Schema means ECMA-262, Go's engine has no look-ahead.
`$` is the very end, as in ECMA-262; in Python's own `re` it also matches before a last newline.

Source: JSON Schema 2020-12, core (section 6.4 for the patterns) and validation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from worker.contract.beyond import comment
from worker.core.intake.event_time import MILLISECONDS_FROM
from worker.core.intake.fields import DIGITS_MAX
from worker.core.post_api.column import DECIMAL_CHARACTERS_MAX, Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity, Resource

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Of the contract, not of this program: it changes when a record that was valid becomes invalid.
VERSION = "v1"
_ABSENT: tuple[str | None, ...] = ("", None)
# What str.strip() removes: as literal characters, because engines differ in how they escape
# characters beyond ASCII.
_WHITE_SPACE = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
# What an element of an array may not contain: it separates elements in the API's own form.
_ENDING = r",\[\]\"\n\r"
_ELEMENT = rf"[^{_ENDING}{_WHITE_SPACE}]([^{_ENDING}]*[^{_ENDING}{_WHITE_SPACE}])?"

_ELEMENT_TEXT = rf"^{_ELEMENT}$"
_ARRAY_TEXT = rf"^\[({_ELEMENT}(,{_ELEMENT})*)?\]$"
# All that a pattern can check of an object within a string.
_OBJECT_TEXT = r"^[ \t\n\r]*\{[\s\S]*\}[ \t\n\r]*$"
_EMPTY_ARRAY_TEXT = r"^\[[ \t\n\r]*\]$"
# Four characters of exponent at most, its sign included.
_DECIMAL_TEXT = r"^-?[0-9]+(\.[0-9]+)?([eE]([0-9]{1,4}|[+-][0-9]{1,3}))?$"

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
        resource: the resource of the event.
        is_dated_by_wrapping: the event needs no time of its own, because the CloudEvent around it
            has a time.
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
    """The smallest valid event, made of the columns' own examples."""
    first, *others = resource.columns
    columns = [
        first,
        IDENTITY_COLUMNS[Identity.PROFILE_ID],
        *(column for column in others if column.required),
    ]
    return {column.name: json.loads(column.example) for column in columns}


def digits_pattern(minimum: int, maximum: int) -> str:
    """A pattern of integers in these bounds as digits, leading zeros allowed.

    Raises:
        ValueError: the minimum is above 1: no column has such a minimum.
    """
    if minimum < 0:
        return f"^(0*({_magnitudes(0, maximum)})|-0*({_magnitudes(0, -minimum)}))$"
    if minimum > 1:
        raise ValueError(f"there is no pattern for a minimum of {minimum}")
    return f"^0*({_magnitudes(minimum, maximum)})$"


def _magnitudes(minimum: int, maximum: int) -> str:
    text = str(maximum)
    first = "[1-9]" if minimum else "[0-9]"
    if set(text) == {"9"}:
        return f"{first}[0-9]{{0,{len(text) - 1}}}"
    ways = [f"{first}[0-9]{{0,{len(text) - 2}}}"] if len(text) > 1 else []
    for place, digit in enumerate(text):
        # The first digit of a number of full length is not zero, unless it is the only digit.
        lowest = max(minimum, int(len(text) > 1)) if place == 0 else 0
        if int(digit) > lowest:
            ways.append(
                f"{text[:place]}[{lowest}-{int(digit) - 1}][0-9]{{{len(text) - place - 1}}}"
            )
    return "|".join((*ways, text))


def _named_by(identity: Identity) -> Schema:
    """Exactly one of the pair: this identity is present; the other is absent, null or empty."""
    (other,) = (candidate for candidate in Identity if candidate is not identity)
    return {
        "title": f"named by {identity}",
        "required": [identity.value],
        "properties": {
            identity.value: {"not": {"enum": list(_ABSENT)}},
            other.value: {"enum": list(_ABSENT)},
        },
    }


def _property(column: Column, *, is_required: bool) -> Schema:
    schema: Schema = {"description": _description(column), "examples": _examples(column)}
    beyond = comment(column.kind)
    if beyond:
        schema["$comment"] = f"Not checked by this schema: {beyond}"
    if column.default is not None:
        schema["default"] = (
            json.loads(column.default) if column.kind is Kind.INTEGER else column.default
        )
    if column.kind is Kind.STRING:
        return schema | (
            {"type": ["string", "integer"], "minLength": 1}
            if is_required
            else {"type": ["string", "integer", "null"]}
        )
    ways = _WAYS[column.kind](column)
    return schema | {"anyOf": ways if is_required else [*ways, {"enum": list(_ABSENT)}]}


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
    return [example, *(known for known in column.known if known != example)]


def _integer(column: Column) -> list[Schema]:
    return _whole(column.minimum, column.maximum)


def _timestamp(column: Column) -> list[Schema]:
    return _whole(column.minimum, MILLISECONDS_FROM - 1)


def _whole(minimum: int, maximum: int) -> list[Schema]:
    return [
        {"type": "integer", "minimum": minimum, "maximum": maximum},
        # Only digits: JavaScript can't write an integer above 2^53 as a number.
        {"type": "string", "pattern": digits_pattern(minimum, maximum), "maxLength": DIGITS_MAX},
    ]


def _decimal(_: Column) -> list[Schema]:
    return [
        {"type": "number"},
        {"type": "string", "pattern": _DECIMAL_TEXT, "maxLength": DECIMAL_CHARACTERS_MAX},
    ]


def _object(_: Column) -> list[Schema]:
    return _object_or_text({"type": "object"})


def _attributes(_: Column) -> list[Schema]:
    return _object_or_text(
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    )


def _object_or_text(schema: Schema) -> list[Schema]:
    in_text = {"contentMediaType": "application/json", "contentSchema": schema}
    return [
        schema,
        {"type": "string", "pattern": _OBJECT_TEXT, **in_text},
        # PHP writes an empty object so; it is sent as {}.
        {"type": "array", "maxItems": 0},
        {"type": "string", "pattern": _EMPTY_ARRAY_TEXT},
    ]


def _array(_: Column) -> list[Schema]:
    return [
        {"type": "array", "items": {"type": "string", "pattern": _ELEMENT_TEXT}},
        {"type": "string", "pattern": _ARRAY_TEXT},
    ]


def _session_type(_: Column) -> list[Schema]:
    return [{"type": "string", "enum": ["foreground", "background"]}]


def _address(_: Column) -> list[Schema]:
    return [{"type": "string", "format": "ipv6"}, {"type": "string", "format": "ipv4"}]


# How a value of each kind may be written. None of these accepts an empty text.
_WAYS: dict[Kind, Callable[[Column], list[Schema]]] = {
    Kind.INTEGER: _integer,
    Kind.DEVICE_ID: _integer,
    Kind.TIMESTAMP: _timestamp,
    Kind.DECIMAL: _decimal,
    Kind.JSON_OBJECT: _object,
    Kind.ATTRIBUTES: _attributes,
    Kind.ARRAY: _array,
    Kind.SESSION_TYPE: _session_type,
    Kind.IPV6: _address,
}

"""The contract as text: JSON Schemas, the AsyncAPI document, tables for people.

The same on the command line and in the files under docs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import yaml

from worker.contract.asyncapi import asyncapi_document
from worker.contract.beyond import RULES
from worker.contract.json_schema import schema_of
from worker.core.post_api.column import DEVICE_BLOCK, INTEGER_MIN, Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, RESOURCES, Resource

YAML_COLUMNS = 120
_HEAD = "| field | value | meaning | example |\n| --- | --- | --- | --- |\n"


class _Plain(yaml.SafeDumper):
    """A writer without anchors: people can't read them."""

    def ignore_aliases(self, _: Any) -> bool:
        """Write every value in full."""
        return True


def schema_text(resource: Resource) -> str:
    """A resource's JSON Schema."""
    return _json(schema_of(resource))


def asyncapi_yaml() -> str:
    """The AsyncAPI document as YAML."""
    return yaml.dump(
        asyncapi_document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=YAML_COLUMNS
    )


def asyncapi_json() -> str:
    """The AsyncAPI document as JSON."""
    return _json(asyncapi_document())


def field_tables() -> str:
    """A Markdown table per resource, and a table of the device block."""
    parts = [_section(resource) for resource in RESOURCES.values()]
    dated = ", ".join(name for name, resource in RESOURCES.items() if _has_device_block(resource))
    parts.append(f"### The device block\n\nOptional, in {dated}.\n\n{_table(DEVICE_BLOCK)}")
    return "\n".join(parts)


def rule_table() -> str:
    """A Markdown table of what the worker refuses and a schema can't express."""
    lines = [
        f"| {rule.name} | {', '.join(f'`{reason}`' for reason in sorted(rule.reasons))} | "
        f"{_where(rule.kinds)} | {rule.text} |"
        for rule in RULES
    ]
    return (
        "| rule | refused as | of | what it says |\n| --- | --- | --- | --- |\n"
        + "\n".join(lines)
        + "\n"
    )


def _json(document: dict[str, Any]) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _section(resource: Resource) -> str:
    first, *others = [column for column in resource.columns if column not in DEVICE_BLOCK]
    table = _table((first, *IDENTITY_COLUMNS.values(), *others))
    more = "\nAnd the [device block](#the-device-block).\n" if _has_device_block(resource) else ""
    return f"### {resource.name}\n\n{resource.description}.\n\n{table}{more}"


def _has_device_block(resource: Resource) -> bool:
    return set(DEVICE_BLOCK) <= set(resource.columns)


def _table(columns: Iterable[Column]) -> str:
    return _HEAD + "".join(_line(column) for column in columns)


def _line(column: Column) -> str:
    star = "\\*" if column.required else ""
    known = f"; known: {', '.join(column.known)}" if column.known else ""
    default = (
        f"; the API takes {column.default} where it is absent" if column.default is not None else ""
    )
    example = column.example.replace("|", "\\|")
    return (
        f"| `{column.name}`{star} | {_value(column)} | {column.description}{known}{default} | "
        f"`{example}` |\n"
    )


def _value(column: Column) -> str:
    if column.kind is not Kind.INTEGER or column.minimum == INTEGER_MIN:
        return str(column.kind.value)
    return f"an integer from {column.minimum} to {column.maximum}"


def _where(kinds: Iterable[Kind]) -> str:
    return "; ".join(sorted(kind.value for kind in kinds)) or "the record"

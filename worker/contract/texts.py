"""The documents as text, the same on the command line and in the files under docs/schema."""

from __future__ import annotations

from typing import Any

import orjson
import yaml

from worker.contract.asyncapi import asyncapi_document
from worker.contract.json_schema import schema_of
from worker.core.post_api.resource import Resource

YAML_COLUMNS = 120


class _Plain(yaml.SafeDumper):
    """Writes what stands twice twice: anchors are for programs."""

    def ignore_aliases(self, _: Any) -> bool:
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


def _json(document: dict[str, Any]) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()

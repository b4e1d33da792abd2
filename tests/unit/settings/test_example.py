"""The example configuration and the README's routes are in order."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import yaml

from tests.unit.settings.loading import loaded
from worker.settings.load import load
from worker.settings.schema import Settings

EXAMPLE = Path(__file__).parents[3] / "config" / "appmetrica-worker.yaml"


def test_the_routes_that_the_readme_shows_are_in_order(tmp_path: Path) -> None:
    readme = (EXAMPLE.parents[1] / "README.md").read_text(encoding="utf-8")
    snippet = readme[readme.index("    routes:\n") :].partition(
        "\n\n`source` and `id` of a CloudEvent"
    )[0]
    routes = loaded(tmp_path, textwrap.dedent(snippet)).settings.routes
    assert [(route.resource, route.form) for route in routes] == [
        ("events", "json"),
        ("revenue", "json"),
        ("events", "envelope"),
        ("profiles", "cloudevents"),
    ]


class TestTheExample:
    def test_it_holds_every_setting_with_its_default(self, tmp_path: Path) -> None:
        key = tmp_path / "key"
        key.write_text("a-key")
        text = EXAMPLE.read_text().replace("/etc/appmetrica-worker/keys/1111", str(key))
        file = tmp_path / "example.yaml"
        file.write_text(text)
        example = load(file, {}, None, {}).settings
        default = Settings.model_validate(
            {
                "appmetrica": {
                    "applications": {
                        "1111": {"post_api_key": "a-key", "post_api_key_file": str(key)}
                    }
                }
            }
        )
        assert example == default

    def test_it_leaves_no_setting_out(self) -> None:
        def leaves(value: object, path: str) -> set[str]:
            if isinstance(value, dict) and value:
                return {
                    leaf
                    for name, inner in value.items()
                    for leaf in leaves(inner, f"{path}.{name}")
                }
            if isinstance(value, list) and value and isinstance(value[0], dict):
                return leaves(value[0], path)
            return {path}

        def schema_leaves(
            schema: dict[str, object], definitions: dict[str, dict[str, object]], path: str
        ) -> set[str]:
            options = [schema, *schema.get("anyOf", [])]  # type: ignore[misc]
            for option in options:
                if "$ref" in option:
                    schema = definitions[option["$ref"].rpartition("/")[2]]
            if isinstance(schema.get("items"), dict) and "$ref" in schema["items"]:  # type: ignore[operator]
                schema = definitions[schema["items"]["$ref"].rpartition("/")[2]]  # type: ignore[index]
            if "$ref" in (schema.get("additionalProperties") or {}):  # type: ignore[operator]
                schema = definitions[schema["additionalProperties"]["$ref"].rpartition("/")[2]]  # type: ignore[index]
                path = f"{path}.1111"
            properties: dict[str, dict[str, object]] = schema.get("properties", {})  # type: ignore[assignment]
            if not properties:
                return {path}
            return {
                leaf
                for name, inner in properties.items()
                for leaf in schema_leaves(inner, definitions, f"{path}.{name}")
            }

        document = Settings.model_json_schema()
        known = schema_leaves(document, document["$defs"], "")
        given = leaves(yaml.safe_load(EXAMPLE.read_text()), "")
        # Null in the example, one leaf each: the route's own dead-letter topic and its time, and
        # where tokens come from.
        null = re.compile(r"(\.routes\.time|\.dead_letter|\.sasl_oauth)\..*")
        assert {null.sub(r"\1", leaf) for leaf in known} == {
            null.sub(r"\1", leaf) for leaf in given
        }

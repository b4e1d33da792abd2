"""The generated files are up to date, and the page names what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from tests.unit.contract.files import DOCS, PAGE, PRODUCERS, SCHEMAS, generated, page, parts
from worker.contract.beyond import RULES
from worker.contract.json_schema import schema_of
from worker.core.post_api.resource import IDENTITY_COLUMNS, RESOURCES

# Beside the programs: what they are built with.
BUILD_FILES = {"pom.xml", "package.json"}


GENERATED = generated()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(DOCS)))
def test_a_generated_file_is_in_step(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == GENERATED[path], "make schema writes it anew"


def test_a_page_that_has_changed_is_noticed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text.replace("enable_idempotence=True", "enable_idempotence=False")) == text
    assert page(text.replace("`event_name`", "`event`")) == text


def test_no_schema_is_left_of_a_resource_that_is_gone() -> None:
    assert {path.name for path in SCHEMAS.glob("*.schema.json")} == {
        f"{name}.schema.json" for name in RESOURCES
    }


def test_every_producer_is_on_the_page() -> None:
    programs = [
        path
        for path in sorted(PRODUCERS.rglob("*"))
        if path.is_file() and path.name not in BUILD_FILES
    ]
    named = [
        DOCS / part
        for part in parts(PAGE.read_text(encoding="utf-8"))
        if part not in ("fields", "rules")
    ]
    assert sorted(named) == programs
    assert len(programs) == 6


def test_every_link_of_the_page_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


@pytest.mark.parametrize("name", RESOURCES)
def test_a_schema_is_one_by_the_standard_and_takes_its_own_example(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(schema["examples"][0])


@pytest.mark.parametrize("name", RESOURCES)
def test_a_schema_says_of_every_field_what_it_is_and_shows_one_that_is_taken(name: str) -> None:
    schema = schema_of(RESOURCES[name])
    columns = (*IDENTITY_COLUMNS.values(), *RESOURCES[name].columns)
    assert schema["properties"].keys() == {column.name for column in columns}
    for column in columns:
        documented = schema["properties"][column.name]
        assert column.description in documented["description"]
        for example in documented["examples"]:
            jsonschema.Draft202012Validator(documented).validate(example)


def test_every_rule_beyond_the_schemas_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [rule.name for rule in RULES if rule.text not in text] == []

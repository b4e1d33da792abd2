"""The generated files under docs: `make schema` writes them, and a test compares them."""

from __future__ import annotations

import re
from pathlib import Path

from tests import logs_page, metrics_page
from worker.contract.json_schema import VERSION
from worker.contract.texts import asyncapi_yaml, field_tables, rule_table, schema_text
from worker.core.post_api.resource import RESOURCES

DOCS = Path(__file__).parents[3] / "docs"
SCHEMAS = DOCS / "schema" / VERSION
EXAMPLES = SCHEMAS / "examples"
PRODUCERS = DOCS / "producers"
PAGE = DOCS / "events.md"
METRICS_PAGE = DOCS / "metrics.md"
LOGS_PAGE = DOCS / "logs.md"

# The page's generated parts stand between two such comments; a path is a file under docs.
_PART = re.compile(r"(<!-- generated: (?P<name>\S+) -->\n).*?(\n?<!-- end -->)", re.DOTALL)
_LANGUAGES = {
    ".py": "python",
    ".java": "java",
    ".go": "go",
    ".mjs": "javascript",
    ".sh": "sh",
    ".xml": "xml",
    ".json": "json",
}


def generated() -> dict[Path, str]:
    """Every generated file with the text that it must have."""
    schemas = {
        SCHEMAS / f"{name}.schema.json": schema_text(resource)
        for name, resource in RESOURCES.items()
    }
    return {
        **schemas,
        SCHEMAS / "asyncapi.yaml": asyncapi_yaml(),
        PAGE: page(PAGE.read_text(encoding="utf-8")),
        METRICS_PAGE: metrics_page.page(),
        LOGS_PAGE: logs_page.page(),
    }


def page(text: str) -> str:
    """The page with its generated parts made anew."""
    return _PART.sub(lambda found: found[1] + _part(found["name"]) + found[3].lstrip("\n"), text)


def parts(text: str) -> list[str]:
    """The names of the page's generated parts."""
    return [found["name"] for found in _PART.finditer(text)]


def _part(name: str) -> str:
    match name:
        case "fields":
            return field_tables()
        case "rules":
            return rule_table()
        case _:
            file = DOCS / name
            code = file.read_text(encoding="utf-8")
            return f"```{_LANGUAGES[file.suffix]}\n{code}```\n"

"""What the documents name in the repository is there: paths, and functions and classes in them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# A path is relative to the repository or, as in the map of the packages, to `worker`.
PREFIXES = ("", "worker", "worker/core")
PATH = re.compile(
    r"`((?:worker|tests|verification|bench|config|core|edges|daemon|cli|settings|tools|sandbox"
    r"|contract)/[\w./-]*)(?::(\w+(?:\.\w+)*))?`(?: `(\w+(?:\.\w+)*)`)?"
)


def references(text: str) -> list[tuple[str, str | None]]:
    """The paths in backticks, each with the name behind its colon, or in backticks behind it."""
    return [(path.rstrip("/"), name or beside or None) for path, name, beside in PATH.findall(text)]


def found(path: str) -> Path | None:
    """The file or folder that a document means; a module may be named without its ending."""
    for prefix in PREFIXES:
        for ending in ("", ".py"):
            candidate = ROOT / prefix / f"{path}{ending}"
            if candidate.exists():
                return candidate
    return None


@cache
def names_in(file: Path) -> frozenset[str]:
    """The functions, classes, methods (as Class.method, and bare) and constants of a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if hasattr(part, "name")}
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_is_there(document: Path) -> None:
    missing = []
    for path, name in references(document.read_text(encoding="utf-8")):
        file = found(path)
        if file is None:
            missing.append(path)
        elif name is not None and (file.is_dir() or name not in names_in(file)):
            missing.append(f"{path}:{name}")
    assert missing == []


LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]*)(?:#([^)\s]+))?\)")
# A text that the worker shows names a page by its path in the repository.
MENTION = re.compile(r"(docs/\w+\.md)#([\w-]+)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, page: Path) -> list[str]:
    """The links of a text in this page that lead to no file, or to no heading of a page."""
    broken = []
    for target, anchor in LINK.findall(text):
        if target.startswith(("http://", "https://")):
            continue
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{target}#{anchor}")
    return broken


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, ROOT / "helm" / "README.md"], ids=lambda path: path.name
)
def test_every_link_of_a_document_leads_to_a_file_and_a_heading(document: Path) -> None:
    assert broken_links(document.read_text(encoding="utf-8"), document) == []


def test_a_link_to_no_file_and_to_no_heading_would_be_noticed() -> None:
    text = "[a](reasons.md) [b](none.md) [c](operations.md#the-log) [d](operations.md#none) [e](#x)"
    page = ROOT / "docs" / "tools.md"
    assert broken_links(text, page) == ["none.md#", "operations.md#none", "#x"]


def test_every_section_that_the_worker_names_is_there() -> None:
    sources = [*(ROOT / "worker").rglob("*.py"), *(ROOT / "helm").rglob("*.yaml")]
    named = {
        mention for file in sources for mention in MENTION.findall(file.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    assert [
        f"{page}#{anchor}" for page, anchor in named if anchor not in anchors(ROOT / page)
    ] == []


# What operators search for in a log or a page of metrics: a code that is nowhere leads nowhere.
CODE = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`")
# Made of a status (`http_404`), a setting of the environment, metric names.
COMPOSED = re.compile(r"(http|proxy)_\w+|https_proxy")
READ_BY_OPERATORS = [
    ROOT / "docs" / f"{name}.md" for name in ("operations", "runbook", "tools", "troubleshooting")
]


@pytest.mark.parametrize("document", READ_BY_OPERATORS, ids=lambda path: path.name)
def test_every_code_that_operators_read_about_is_in_the_worker(document: Path) -> None:
    sources = (file.read_text(encoding="utf-8") for file in (ROOT / "worker").rglob("*.py"))
    words = {word for source in sources for word in re.findall(r"[a-z0-9_]+", source)}
    codes = set(CODE.findall(document.read_text(encoding="utf-8")))
    known = {code for code in codes if code.removesuffix("_total") in words or code in words}
    assert [code for code in sorted(codes - known) if not COMPOSED.fullmatch(code)] == []


def test_a_wrong_path_and_a_wrong_name_would_be_missed() -> None:
    text = "`worker/errors.py:ExitCode`, `core/pipeline.py`, `worker/no/such.py`"
    assert references(text) == [
        ("worker/errors.py", "ExitCode"),
        ("core/pipeline.py", None),
        ("worker/no/such.py", None),
    ]
    assert found("core/pipeline.py") is not None
    assert found("worker/no/such.py") is None
    assert "ExitCode" in names_in(ROOT / "worker" / "errors.py")


def test_every_threat_has_a_guard_and_a_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if not row.startswith(("| threat", "| ---"))]
    assert len(threats) > 25
    for row in threats:
        _, _, guard, tests, _ = row.split("|")
        assert guard.strip(), row
        assert any(path.startswith("tests/") for path, _ in references(tests)), row

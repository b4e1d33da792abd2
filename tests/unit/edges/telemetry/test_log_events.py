"""Log lines: each is in a table, with its level and its fields, and each row of a table is used."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest

from tests.log_lines import EVENTS, WORKER, LineCheck, faults_of
from tests.logs_page import EXAMPLES, SECTIONS
from worker.edges.telemetry.log_events.definition import FIELDS

LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
# Functions that write a line with a code of their caller: where the code is among their arguments,
# and the level.
WRAPPERS: dict[str, tuple[int, str]] = {
    "core/pipeline.py:_warning": (0, "warning"),
    "daemon/signals.py:_end": (0, "error"),
    "edges/post_api/api_keys.py:_note": (2, "warning"),
    "edges/telemetry/logs.py:_record": (1, ""),
    "__main__.py:_log": (0, "error"),
}
# Functions whose code is a variable: of a wrapper, of a command, of a result.
VARIABLE = {
    "core/pipeline.py:_warning",
    "daemon/runner.py:_perform",
    "daemon/signals.py:_log",
    "edges/kafka/membership.py:join",
    "edges/post_api/api_keys.py:_note",
    "edges/telemetry/diagnostics.py:_write",
    "__main__.py:_log",
}


class Written(NamedTuple):
    """A call that writes a line; `codes` is empty where the code is a variable."""

    place: str
    codes: tuple[str, ...]
    level: str


class Source(NamedTuple):
    """Every call that writes a line, and every constant, of the worker's modules."""

    lines: tuple[Written, ...]
    constants: frozenset[object]


def constants(node: ast.expr) -> tuple[str, ...]:
    """The text that an expression is, or the texts between which it chooses."""
    match node:
        case ast.Constant(value=str() as text):
            return (text,)
        case ast.IfExp(body=body, orelse=otherwise):
            return constants(body) + constants(otherwise)
        case _:
            return ()


def is_logger(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="logger"):
            return True
        case ast.Call(func=ast.Attribute(attr="getLogger")):
            return True
        case _:
            return False


def code_and_level(path: str, call: ast.Call) -> tuple[ast.expr, str] | None:
    """The code that this call writes, and the level; "" where that is a variable."""
    match call.func:
        case ast.Attribute(value=value, attr="log") if is_logger(value):
            return call.args[1], ""
        case ast.Attribute(value=value, attr=level) if is_logger(value) and level in LEVELS:
            return call.args[0], level
        case ast.Name(id="WriteLog"):
            severity = call.args[0]
            level = severity.attr.lower() if isinstance(severity, ast.Attribute) else ""
            return call.args[1], level
        case ast.Name(id=name) | ast.Attribute(attr=name) if f"{path}:{name}" in WRAPPERS:
            place, level = WRAPPERS[f"{path}:{name}"]
            return call.args[place], level
        case _:
            return None


@cache
def source() -> Source:
    """Read the worker's modules once; their trees are large, and are not kept."""
    lines: list[Written] = []
    texts: set[object] = set()
    for file in WORKER.rglob("*.py"):
        # The tables themselves, and programs that are not the worker.
        if {"log_events", "sandbox"} & set(file.parts):
            continue
        path, tree = str(file.relative_to(WORKER)), ast.parse(file.read_text(encoding="utf-8"))
        lines += written(path, tree)
        texts |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return Source(tuple(lines), frozenset(texts))


def written(path: str, tree: ast.Module) -> Iterator[Written]:
    """Every call of the module that writes a line."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and (found := code_and_level(path, node)):
                yield Written(f"{path}:{function.name}", constants(found[0]), found[1])


def test_every_line_of_the_source_is_in_a_table_with_its_level() -> None:
    lines = source().lines
    assert len(lines) > 50
    assert {
        f"{line.place}: {code} {line.level}"
        for line in lines
        for code in line.codes
        if code not in EVENTS or line.level not in ("", *EVENTS[code].levels)
    } == set()


def test_a_code_is_a_variable_only_where_its_callers_are_looked_at() -> None:
    assert {line.place for line in source().lines if not line.codes} == VARIABLE


def test_every_row_of_a_table_is_a_line_of_the_source() -> None:
    assert EVENTS.keys() - source().constants == set()


def test_no_code_stands_twice_and_the_fields_of_all_are_explained() -> None:
    assert len(EVENTS) == sum(map(len, SECTIONS.values()))
    named = {name for event in EVENTS.values() for name in event.fields}
    assert named == FIELDS.keys()
    assert list(FIELDS) == sorted(FIELDS, key=lambda name: (name.startswith("*"), name))


def test_the_pages_name_only_codes_that_exist() -> None:
    named = {
        code
        for page in (WORKER.parent / "docs").glob("*.md")
        for code in re.findall(
            r"\b[Ll]ogs?(?: lines?)? `([a-z_]+)`", page.read_text(encoding="utf-8")
        )
    }
    assert len(named) > 20
    assert named - EVENTS.keys() == set()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[2])
def test_an_example_of_the_page_is_a_line_of_the_tables(
    example: tuple[str, str, str, dict[str, object]],
) -> None:
    level, _, code, fields = example
    assert level.lower() in EVENTS[code].levels
    assert fields.keys() <= set(EVENTS[code].fields)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_a_row_says_what_has_happened_and_an_error_what_to_do(event: object) -> None:
    row = EVENTS[getattr(event, "code", "")]
    assert row.meaning.endswith(".")
    assert row.action.endswith(".") or (row.action == "" and "error" not in row.levels)


def test_a_line_that_differs_from_its_row_is_noticed() -> None:
    check = LineCheck()
    # Apart from the logger of this name, whose lines the fixture of all tests compares.
    logger = logging.Logger("worker.kafka")
    logger.addHandler(check)
    logger.warning("commit_failed", extra={"detail": "x", "partitions": 1})
    assert check.faults == []
    logger.error("commit_failed", extra={"payload": "x"})
    logger.warning("no_such_code")
    assert check.faults == [
        "commit_failed has the field payload",
        "commit_failed has the level error",
        "no_such_code is in no table of worker/edges/telemetry/log_events",
    ]
    assert faults_of("records_without_key", "warning", ["topic", "missing_total"]) == []

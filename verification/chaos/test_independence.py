"""The checker is independent of the worker: it imports nothing of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Nothing of the worker, not even its sandbox.
ACCOUNT = ("checker", "evidence", "table")
# Modules of mutants import what they change.
KNOWS_THE_WORKER = ("mutants",)
STAGE = sorted(
    path.stem
    for path in HERE.glob("*.py")
    if path.stem not in KNOWS_THE_WORKER and not path.stem.startswith("test_")
)


def imported(module: str) -> set[str]:
    """The modules that a file imports, at any place."""
    tree = ast.parse((HERE / f"{module}.py").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            names.add(node.module)
    return names


def reached(module: str) -> set[str]:
    """The same, with what our own files that it imports import in turn."""
    names: set[str] = set()
    waiting = [module]
    while waiting:
        fresh = imported(waiting.pop()) - names
        names |= fresh
        waiting += [
            name.removeprefix("verification.chaos.")
            for name in fresh
            if name.startswith("verification.chaos.")
        ]
    return names


@pytest.mark.parametrize("module", ACCOUNT)
def test_the_account_imports_nothing_of_the_worker(module: str) -> None:
    assert not [name for name in reached(module) if name.split(".")[0] == "worker"]


@pytest.mark.parametrize("module", STAGE)
def test_the_stage_knows_the_worker_as_a_process_only(module: str) -> None:
    own = [name for name in imported(module) if name.split(".")[0] == "worker"]
    assert [name for name in own if not name.startswith("worker.sandbox.")] == []


def test_an_import_of_the_worker_would_be_seen() -> None:
    assert "worker.core.progress.pressure" in reached("mutants")

"""Names in the code of the worker."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

WORKER = Path(__file__).parents[2] / "worker"


def test_no_two_classes_of_the_worker_have_the_same_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in WORKER.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            # A private class is seen in its own module only.
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file.relative_to(WORKER)))
    assert len(places) > 100
    assert {name: files for name, files in places.items() if len(files) > 1} == {}

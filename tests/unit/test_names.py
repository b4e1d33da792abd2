"""Names in the code of the worker, and imports of tests."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "worker"
IMPORT_OF_TESTS = re.compile(
    r"^ *(?:from|import) (?:tests|verification)\.(?:\w+\.)*test_\w+.*$", re.MULTILINE
)


def test_no_two_classes_of_the_worker_have_the_same_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in WORKER.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            # A private class is seen in its own module only.
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file.relative_to(WORKER)))
    assert len(places) > 100
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_no_test_module_is_imported() -> None:
    # What tests share is in modules without tests, where a reader looks for it.
    files = [file for folder in ("tests", "verification") for file in (ROOT / folder).rglob("*.py")]
    assert sum(file.name.startswith("test_") for file in files) > 100
    imports = [
        (str(file.relative_to(ROOT)), line)
        for file in files
        for line in IMPORT_OF_TESTS.findall(file.read_text(encoding="utf-8"))
    ]
    assert imports == []

"""What the image is built from: pinned by hash, and installed by nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==[^\s;]+")


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda one: one.name)
def test_every_dependency_of_the_image_is_pinned_by_hash(lock: Path) -> None:
    text = re.sub(r"#.*", "", lock.read_text()).replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line.strip()]
    assert requirements
    for requirement in requirements:
        assert _PIN.match(requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_the_image_installs_by_hash_only() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip3? install[^&\n]*", text)
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install


def test_pages_promise_what_can_be_run() -> None:
    targets = (ROOT / "Makefile").read_text()
    page = (ROOT / "SECURITY.md").read_text()
    promised = re.findall(r"`make ([a-z-]+)`", page)
    assert promised
    assert [target for target in promised if f"\n{target}:" not in targets] == []

"""Programs that these tests start."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool."""
    path = shutil.which("promtool")
    if path is None:
        pytest.fail("promtool is missing: install Debian's package prometheus, or its release")
    return path

"""Programs that these tests start."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool."""
    return _path_of("promtool", "prometheus")


@pytest.fixture(scope="session")
def amtool() -> str:
    """The path of amtool."""
    return _path_of("amtool", "prometheus-alertmanager")


def _path_of(command: str, package: str) -> str:
    path = shutil.which(command)
    if path is None:
        pytest.fail(f"{command} is missing: install Debian's package {package}, or its release")
    return path

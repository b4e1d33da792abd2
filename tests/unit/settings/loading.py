"""Loads a configuration of a file, variables, secret files and flags, each given as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.errors import ConfigurationError, Fault
from worker.settings.load import Loaded, load

KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"


def loaded(
    tmp_path: Path,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Loaded:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    directory = None
    if secrets is not None:
        directory = tmp_path / "secrets"
        directory.mkdir()
        for name, value in secrets.items():
            (directory / name).write_text(value, encoding="utf-8")
    return load(file, {KEY: "secret-key", **(environment or {})}, directory, flags or {})


def faults(
    tmp_path: Path, text: str = "", environment: Mapping[str, str] | None = None
) -> tuple[Fault, ...]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, text, environment)
    return caught.value.faults


def assert_fault(
    tmp_path: Path, text: str, environment: Mapping[str, str], expected: tuple[str, str]
) -> None:
    """Check that a fault at this path, or below it, has this text in its message."""
    path, message = expected
    found = faults(tmp_path, text, environment)
    assert [fault for fault in found if fault.path.startswith(path) and message in fault.message], (
        found
    )

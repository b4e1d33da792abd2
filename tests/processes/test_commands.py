"""The installed command, as a process of its own: exit codes and what it writes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"
SERVICE = {
    "AMW_SERVICE_HOST": "10.96.0.7",
    "AMW_SERVICE_PORT": "9090",
    "AMW_PORT": "tcp://10.96.0.7:9090",
}


@pytest.fixture
def no_admin_port() -> Iterator[dict[str, str]]:
    """The settings of an admin port that is in use: the run ends where it would open, with 69."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"AMW_ADMIN__HOST": "127.0.0.1", "AMW_ADMIN__PORT": str(server.getsockname()[1])}


def installed(
    command: str, environment: dict[str, str], directory: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that sees these variables and no others.

    `directory` holds the package.
    """
    return subprocess.run(
        [sys.executable, "-m", "worker", command],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=directory,
    )


@pytest.mark.parametrize(
    ("environment", "code", "text"),
    [
        ({KEY: "a-key"}, 0, "is valid"),
        ({}, 78, "appmetrica: required: at least one application with its key"),
        ({KEY: "a-key", "AMW_LOG__LEVEL": "loud"}, 78, "log.level"),
    ],
    ids=["is valid", "nothing given", "wrong value"],
)
def test_the_installed_command_ends_with_the_exit_code(
    environment: dict[str, str], code: int, text: str
) -> None:
    result = installed("check-config", environment)
    assert result.returncode == code, result.stderr
    assert text in (result.stdout if code == 0 else result.stderr)


def test_run_names_the_variables_of_a_service_in_one_log_line(
    no_admin_port: dict[str, str],
) -> None:
    result = installed("run", {KEY: "secret-key", **no_admin_port, **SERVICE})
    assert result.returncode == 69, result.stderr
    lines = [
        json.loads(line) for line in result.stderr.splitlines() if "service_links_ignored" in line
    ]
    assert [(line["count"], line["variables"]) for line in lines] == [(3, sorted(SERVICE))]


@pytest.mark.parametrize("files", [[], ["compiled_pass.cpython-39-x86_64-linux-gnu.so"]])
def test_run_warns_once_of_a_compiled_pass_of_another_interpreter(
    tmp_path: Path, no_admin_port: dict[str, str], files: list[str]
) -> None:
    built = [f"compiled_pass{suffix}" for suffix in EXTENSION_SUFFIXES]
    shutil.copytree(
        REPOSITORY / "worker", tmp_path / "worker", ignore=shutil.ignore_patterns(*built)
    )
    for name in files:
        (tmp_path / "worker/core/intake" / name).touch()
    result = installed("run", {KEY: "secret-key", **no_admin_port}, tmp_path)
    assert result.returncode == 69, result.stderr
    lines = [json.loads(line) for line in result.stderr.splitlines() if "compiled_pass" in line]
    assert [line["event"] for line in lines] == ["compiled_pass_not_usable"] * len(files)
    assert all(name in line["detail"] for name, line in zip(files, lines, strict=True))

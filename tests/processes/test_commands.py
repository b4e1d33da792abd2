"""The installed command, as a process of its own: exit codes and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"
SERVICE = {
    "AMW_SERVICE_HOST": "10.96.0.7",
    "AMW_SERVICE_PORT": "9090",
    "AMW_PORT": "tcp://10.96.0.7:9090",
}


def installed(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that sees these variables and no others."""
    return subprocess.run(
        [sys.executable, "-m", "worker", command],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
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


def test_run_names_the_variables_of_a_service_in_one_log_line() -> None:
    # The last word of a host's name must not be a number: no such address exists, so the run ends
    # where the admin port would open.
    environment = {KEY: "secret-key", "AMW_ADMIN__HOST": "host.1", **SERVICE}
    result = installed("run", environment)
    assert result.returncode == 69, result.stderr
    lines = [
        json.loads(line) for line in result.stderr.splitlines() if "service_links_ignored" in line
    ]
    assert [(line["count"], line["variables"]) for line in lines] == [(3, sorted(SERVICE))]

"""What the worker imports, and the worker without the packages of the extra `otel`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.errors import ExitCode

CONFIG = "appmetrica: {applications: {'1111': {post_api_key: a-key-of-an-application}}}\n"
# No package of the extra can be imported.
SCRIPT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"opentelemetry", "google", "requests"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["appmetrica-worker", *sys.argv[1:]]
from worker.__main__ import main
main()
"""
# What a running worker has imported.
IMPORTED = """
import asyncio, sys
from worker.daemon.assembly import assemble
from worker.settings.schema import Settings
import worker.cli.daemon, worker.daemon.app

async def start():
    settings = Settings.model_validate({
        "appmetrica": {"applications": {"1111": {"post_api_key": "a-key-of-an-application"}}},
        "tracing": {"enabled": sys.argv[1] == "on"},
    })
    assemble(settings, "instance", lambda _: None)

asyncio.run(start())
imported = {name.partition(".")[0] for name in sys.modules}
print(*sorted(imported & {"opentelemetry", "google", "requests"}))
"""
# What the command `run` has imported of what only tools, or variables, need.
IMPORTED_BY_RUN = """
import sys
import click
from worker.cli.main import cli

cli.get_command(click.Context(cli), "run")
costly = ("pydantic_settings", "rich", "worker.contract", "worker.sandbox")
print(*sorted(name for name in sys.modules if name.startswith(costly)))
"""
# The state of the garbage collector at the end of a command.
COLLECTOR = """
import atexit, gc, sys
from worker.__main__ import main

atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 10_000))
sys.argv = ["appmetrica-worker", *sys.argv[1:]]
main()
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("tracing", "imported"), [("off", ""), ("on", "google opentelemetry requests")]
)
def test_nothing_of_the_extra_is_imported_without_traces(tracing: str, imported: str) -> None:
    done = run(IMPORTED, tracing)
    assert (done.stdout.strip(), done.stderr) == (imported, "")


def test_the_worker_imports_at_its_start_only_what_it_needs() -> None:
    done = run(IMPORTED_BY_RUN)
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("command", ["run", "validate", "version"])
def test_the_garbage_collector_works_after_the_imports_and_leaves_them_out(command: str) -> None:
    done = run(COLLECTOR, command, "--help" if command != "version" else "--json")
    assert done.stdout.splitlines()[-1] == "True True"


def test_the_commands_work_without_the_extra(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    checked = run(SCRIPT, "check-config", "--config", str(config))
    assert checked.returncode == ExitCode.OK, checked.stderr
    # No broker listens: the worker starts, and says so until it is stopped.
    ended = run(
        SCRIPT,
        "run",
        "--config",
        str(config),
        "--set",
        "admin.port=0",
        "--set",
        "kafka.bootstrap_servers=127.0.0.1:9",
        "--set",
        "log.format=wrong",
    )
    assert "log.format" in ended.stderr


@pytest.mark.parametrize("command", ["check-config", "run"])
def test_traces_without_the_extra_are_a_fault_that_says_what_to_install(
    tmp_path: Path, command: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"{CONFIG}tracing:\n  enabled: true\n")
    ended = run(SCRIPT, command, "--config", str(config))
    assert ended.returncode == ExitCode.BAD_CONFIGURATION
    assert "tracing.enabled: the extra otel is not installed" in ended.stderr
    assert f"(from {config}:3)" in ended.stderr

"""How the process ends when it can't go on: in the log's format, without secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.pass_forms import needs_compiled
from worker.edges.telemetry.status_page import DIRECTORY

ROOT = Path(__file__).parents[2]

SECRET = "a-key-that-nobody-sees"
# Where the worker is put together, something goes wrong as deep as a real fault may be.
SCRIPT = """
import asyncio, sys
import worker.daemon.app
from worker.errors import UnavailableError

def fail(settings, *_):
    def deeper(depth):
        if depth:
            deeper(depth - 1)
        raise {error}
    deeper(30)

worker.daemon.app.assemble = fail
sys.argv = ["appmetrica-worker", "run", "--config", {config!r}, "--set", "log.format={format}"]
from worker.__main__ import main
main()
"""


def ended(
    directory: Path, error: str, log_format: str = "json"
) -> subprocess.CompletedProcess[str]:
    config = directory / "config.yaml"
    config.write_text(f"appmetrica: {{applications: {{'1111': {{post_api_key: {SECRET}}}}}}}")
    script = SCRIPT.format(error=error, config=str(config), format=log_format)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "error",
    [
        f"ValueError('with {SECRET}')",
        f"BaseExceptionGroup('many', [ValueError('with {SECRET}'), asyncio.CancelledError()])",
        "asyncio.CancelledError()",
    ],
    ids=["exception", "group", "cancelled"],
)
def test_a_crash_is_one_line_of_json_with_its_stack_and_without_secrets(
    tmp_path: Path, error: str
) -> None:
    process = ended(tmp_path, error)
    (line,) = process.stderr.splitlines()
    crash = json.loads(line)
    assert (process.returncode, crash["event"], crash["level"], crash["exit_code"]) == (
        70,
        "crashed",
        "error",
        70,
    )
    assert "in fail" in crash["error"]
    assert SECRET not in process.stderr


def test_a_crash_is_shown_to_people_as_a_stack(tmp_path: Path) -> None:
    process = ended(tmp_path, f"ValueError('with {SECRET}')", "console")
    first, *stack = process.stderr.splitlines()
    assert (process.returncode, "crashed" in first, stack[-1]) == (70, True, "ValueError: with ***")


def test_what_the_worker_can_explain_is_one_line_of_json(tmp_path: Path) -> None:
    process = ended(tmp_path, "UnavailableError('cannot listen: set admin.port')")
    (line,) = process.stderr.splitlines()
    fault = json.loads(line)
    assert (process.returncode, fault["event"], fault["exit_code"]) == (69, "run_failed", 69)
    assert fault["detail"] == "cannot listen: set admin.port"


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (
            "import aiokafka.consumer.fetcher as fetcher; del fetcher.FetchResult",
            "aiokafka.consumer.fetcher.FetchResult",
        ),
        ("sys.modules['aiokafka.producer.sender'] = None", "aiokafka.producer.sender"),
    ],
    ids=["class", "module"],
)
@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_class_that_aiokafka_lacks_is_one_line(command: str, change: str, missing: str) -> None:
    script = (
        f"import sys; import aiokafka; {change}; sys.argv = ['appmetrica-worker', '{command}']\n"
        "from worker.__main__ import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.stderr.splitlines() == [
        f"aiokafka {version('aiokafka')} lacks {missing}, which the worker uses: "
        "install the release of aiokafka that the worker's lock file names"
    ]
    assert process.returncode == 69


def test_another_failed_import_is_a_crash_with_its_stack() -> None:
    script = (
        "import sys; sys.modules['msgspec'] = None; sys.argv = ['appmetrica-worker', 'run']\n"
        "from worker.__main__ import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 70
    assert process.stderr.startswith("Traceback")


def test_the_wheel_has_the_files_of_the_page(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = {path.relative_to(ROOT).as_posix() for path in DIRECTORY.iterdir()}
    assert len(files) > 4
    assert files <= packed


def _wheel(directory: Path, environment: dict[str, str]) -> tuple[Path, str]:
    """A wheel, unpacked, and what its build printed."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
    )
    (wheel,) = directory.glob("*.whl")
    unpacked = directory / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    return wheel, done.stdout + done.stderr


def _form_of(directory: Path) -> str:
    """The form of the fast pass of the package in this directory."""
    script = "from worker.core.intake.pass_choice import PASS_FORM; print(PASS_FORM)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=directory, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PATH": "/nonexistent"}, "no C compiler"),
        ({"APPMETRICA_WORKER_PURE": "1"}, "APPMETRICA_WORKER_PURE is set"),
    ],
)
def test_a_wheel_without_a_compiler_is_pure_and_says_so(
    tmp_path: Path, environment: dict[str, str], reason: str
) -> None:
    wheel, printed = _wheel(tmp_path, {**os.environ, **environment})
    assert wheel.name.endswith("-py3-none-any.whl")
    assert printed.count(f"{reason}") == 1
    assert _form_of(tmp_path / "unpacked") == "python"


@needs_compiled
def test_a_wheel_that_is_built_with_a_compiler_has_the_compiled_pass(tmp_path: Path) -> None:
    wheel, _ = _wheel(tmp_path, dict(os.environ))
    assert not wheel.name.endswith("-none-any.whl")
    assert _form_of(tmp_path / "unpacked") == "compiled"

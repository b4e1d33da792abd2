"""Signals and deadlines in real processes: each test starts one and looks at how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.daemon.signals import OTHER_SIGNALS, STOP_SIGNALS

# An upper bound for a process that hangs: no test waits for it as long as the code is right.
HANGING_SECONDS = 60

# Sends itself a signal at the moment when the first of the costly imports begins.
EARLY = """
import os, sys
class AtFirstImport:
    def find_spec(self, name, path, target=None):
        if name == "worker.cli.main":
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, AtFirstImport())
sys.argv = ["appmetrica-worker", {arguments}]
from worker.__main__ import main
main()
"""
CONFIGURATION = """
kafka: {bootstrap_servers: "127.0.0.1:1"}
appmetrica: {applications: {"1111": {post_api_key: a-key-that-nobody-sees}}}
admin: {host: 127.0.0.1, port: 0}
"""


def ended(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=HANGING_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_imports_stops_the_worker_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIGURATION)
    process = ended(
        EARLY.format(
            number=int(number), arguments=f'"run", "--config", {str(tmp_path / "config.yaml")!r}'
        )
    )
    assert (process.returncode, '"stopped"' in process.stderr) == (0, True), process.stderr


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_during_the_imports_end_nothing(number: signal.Signals) -> None:
    process = ended(EARLY.format(number=int(number), arguments='"run", "--config", "/nonexistent"'))
    assert process.returncode == 78, process.stderr


def test_a_tool_ends_by_a_signal_as_programs_do() -> None:
    process = ended(EARLY.format(number=int(signal.SIGTERM), arguments='"check-config"'))
    assert process.returncode == -signal.SIGTERM, process.stderr


@contextmanager
def worker_that_waits_for_its_configuration(
    directory: Path,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The worker, and the pipe from which it reads its configuration.

    When the worker has opened the pipe, the test knows how far it is.
    """
    pipe = directory / "config.yaml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "worker", "run", "--config", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, os.open(pipe, os.O_WRONLY)
        finally:
            process.kill()


def goes_on(process: subprocess.Popen[str], configuration: int) -> tuple[int, str]:
    """Give it its configuration; returns its exit code and its log."""
    os.write(configuration, CONFIGURATION.encode())
    os.close(configuration)
    _, log = process.communicate(timeout=HANGING_SECONDS)
    return process.returncode, log


def test_a_signal_while_the_configuration_is_read_stops_the_worker_in_order(tmp_path: Path) -> None:
    with worker_that_waits_for_its_configuration(tmp_path) as (process, configuration):
        process.send_signal(signal.SIGTERM)
        code, log = goes_on(process, configuration)
    assert (code, '"stopped"' in log) == (0, True), log


def test_signals_while_the_configuration_is_read_take_effect_when_the_worker_can(
    tmp_path: Path,
) -> None:
    with worker_that_waits_for_its_configuration(tmp_path) as (process, configuration):
        for number in (signal.SIGUSR1, signal.SIGQUIT, signal.SIGTERM):
            process.send_signal(number)
        code, log = goes_on(process, configuration)
    assert code == 0, log
    for event in ("log_level_changed", "diagnostics_threads", "stopped"):
        assert f'"event":"{event}"' in log


def test_every_signal_has_a_handler_before_the_configuration_is_read(tmp_path: Path) -> None:
    """The kernel discards a signal to process 1 that has no handler, and never asks again.

    `make image` stops a worker that is process 1; this holds wherever the tests run.
    """
    with worker_that_waits_for_its_configuration(tmp_path) as (process, configuration):
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.send_signal(signal.SIGTERM)
        code, _ = goes_on(process, configuration)
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    handled = {number for number in signal.Signals if int(caught, 16) >> (number - 1) & 1}
    assert {*STOP_SIGNALS, *OTHER_SIGNALS} <= handled
    assert code == 0


STOPPING = """
import os, signal, sys, threading
import worker.daemon.signals
from worker.errors import ExitCode, UnavailableError
signals = worker.daemon.signals.Signals()
signals.install()
"""


@pytest.mark.parametrize(
    "waits", ["while True: pass", "os.read(os.pipe()[0], 1)"], ids=["busy", "in a system call"]
)
def test_the_deadline_of_a_stop_holds_whatever_the_main_thread_does(waits: str) -> None:
    process = ended(
        f"{STOPPING}signals.hand_over(print, 0.05)\nos.kill(os.getpid(), signal.SIGTERM)\n{waits}"
    )
    assert (process.returncode, process.stderr) == (75, "stop_deadline_passed\n")


def test_the_deadline_of_a_stop_holds_while_the_worker_is_assembled() -> None:
    script = f"{STOPPING}signals._drain_seconds = 0.05\n"
    process = ended(
        f"{script}os.kill(os.getpid(), signal.SIGTERM)\nsignal.pause()\nos.read(os.pipe()[0], 1)"
    )
    assert (process.returncode, process.stderr) == (128 + signal.SIGTERM, "stop_deadline_passed\n")


def test_a_second_signal_ends_a_process_that_is_busy() -> None:
    script = f"{STOPPING}worker.daemon.signals.ECHO_SECONDS = 0\nsignals.hand_over(print, 40)\n"
    process = ended(
        f"{script}os.kill(os.getpid(), signal.SIGTERM)\nos.kill(os.getpid(), "
        "signal.SIGINT)\nwhile True: pass"
    )
    assert (process.returncode, process.stderr) == (75, "stopped_at_once\n")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("signals.ends_with(ExitCode.OK)", 0),
        ("raise UnavailableError('x')", 69),
        ("raise ValueError('x')", 70),
    ],
    ids=["in order", "explained", "crash"],
)
def test_a_thread_that_hangs_cannot_keep_a_process_that_has_ended(end: str, code: int) -> None:
    script = (
        f"{STOPPING}worker.daemon.signals.EXITING_SECONDS_MAX = "
        "0.05\nthreading.Thread(target=threading.Event().wait).start()\n"
    )
    process = ended(f"{script}with signals:\n    {end}")
    assert (process.returncode, "exit_deadline_passed" in process.stderr) == (code, True)


def test_what_a_stop_still_sends_does_not_spoil_a_clean_exit() -> None:
    script = (
        f"{STOPPING}with signals:\n    signals.ends_with(ExitCode.OK)\nos.kill(os.getpid(), "
        "signal.SIGTERM)\n"
    )
    assert (
        ended(
            f"{script}os.kill(os.getpid(), signal.SIGHUP)\nos.kill(os.getpid(), signal.SIGUSR1)"
        ).returncode
        == 0
    )


def test_a_worker_that_is_to_outlive_its_terminal_does() -> None:
    script = (
        "import signal\nsignal.signal(signal.SIGHUP, "
        f"signal.SIG_IGN)\n{STOPPING}signals.hand_over(print, 40)\n"
    )
    process = ended(f"{script}os.kill(os.getpid(), signal.SIGHUP)\nsignals.give_back()")
    assert (process.returncode, process.stdout) == (0, "")

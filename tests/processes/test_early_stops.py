"""A stop that comes before there is anything to stop: the process ends at once and in order."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.lone_worker import lone_worker
from worker.sandbox.processes import WorkerProcess


async def until_logged(worker: WorkerProcess, what: str) -> None:
    for _ in range(600):
        if worker.log_file.exists() and what in worker.log_file.read_text():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(worker.log_tail())


@pytest.mark.parametrize("moment", ['"started"', "kafka_not_reached"])
async def test_a_stop_while_no_broker_can_be_reached_is_clean(tmp_path: Path, moment: str) -> None:
    worker = lone_worker(tmp_path, state_dir=str(tmp_path))
    worker.start()
    try:
        await until_logged(worker, moment)
        worker.send(signal.SIGTERM)
        assert await worker.wait(10.0) == 0
    finally:
        worker.kill()
    log = worker.log_file.read_text()
    assert '"stopped"' in log
    assert "Traceback" not in log


async def test_a_second_signal_does_not_make_a_clean_exit_a_death_by_signal(tmp_path: Path) -> None:
    """Send two signals, as `timeout` does: to the process, and to its process group.

    The second signal may arrive at the very end.
    """
    worker = lone_worker(tmp_path, state_dir=str(tmp_path))
    worker.start()
    try:
        await until_logged(worker, "kafka_not_reached")
        worker.send(signal.SIGTERM)
        # Apart, so that the kernel doesn't make one of them.
        await asyncio.sleep(0.01)
        worker.send(signal.SIGTERM)
        assert await worker.wait(10.0) == 0
    finally:
        worker.kill()


async def test_a_signal_that_asks_for_nothing_is_logged_and_the_worker_goes_on(
    tmp_path: Path,
) -> None:
    worker = lone_worker(tmp_path, state_dir=str(tmp_path))
    worker.start()
    try:
        await until_logged(worker, "kafka_not_reached")
        worker.send(signal.SIGUSR2)
        await until_logged(worker, '"event":"signal_ignored","signal":"SIGUSR2"')
        worker.send(signal.SIGTERM)
        assert await worker.wait(10.0) == 0
    finally:
        worker.kill()


async def test_sigusr1_switches_debugging_on_and_off(tmp_path: Path) -> None:
    worker = lone_worker(tmp_path, state_dir=str(tmp_path))
    worker.start()
    try:
        await until_logged(worker, "kafka_not_reached")
        assert (await worker.status())["log_level"] == "info"
        worker.send(signal.SIGUSR1)
        await until_logged(worker, '"event":"log_level_changed","log_level":"debug"')
        assert (await worker.status())["log_level"] == "debug"
        worker.send(signal.SIGUSR1)
        await until_logged(worker, '"event":"log_level_changed","log_level":"info"')
        worker.send(signal.SIGTERM)
        assert await worker.wait(10.0) == 0
    finally:
        worker.kill()
    log = worker.log_file.read_text()
    assert "signal_ignored" not in log
    # The stop was asked for with debugging off.
    assert "pipeline_event" not in log


async def test_a_hangup_drains(tmp_path: Path) -> None:
    worker = lone_worker(tmp_path, state_dir=str(tmp_path))
    worker.start()
    try:
        await until_logged(worker, "kafka_not_reached")
        worker.send(signal.SIGHUP)
        assert await worker.wait(10.0) == 0
    finally:
        worker.kill()
    assert '"stopped"' in worker.log_file.read_text()

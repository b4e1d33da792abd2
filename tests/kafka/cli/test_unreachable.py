"""Every command that can't reach the brokers names the reason."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.cli.commands import Commands, configuration, lines
from tests.secured import NAME, USER, Secured
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import WorkerOptions, WorkerProcess

STEP_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05
REFUSED = (
    f"it refuses the login of user {USER!r} by PLAIN: correct kafka.sasl_username, "
    "sasl_password or sasl_mechanism"
)


def with_a_wrong_password(secured: Secured, directory: Path) -> Commands:
    settings: dict[str, Any] = configuration(f"{NAME}:{secured.login}", "any")
    settings["kafka"] |= {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": USER,
        "sasl_password": "a-wrong-password",
    }
    return Commands(directory, settings)


@pytest.mark.parametrize(
    "arguments",
    [
        ("lag",),
        ("dlq", "stats"),
        ("parked", "peek"),
        ("rehearse",),
        ("why", "any", "0", "0"),
        ("dlq", "replay", "--dry-run"),
    ],
    ids=" ".join,
)
async def test_every_tool_says_why(
    secured: Secured, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = await with_a_wrong_password(secured, tmp_path).run(*arguments)
    assert result.code == 69
    assert f"{NAME}:{secured.login}: {REFUSED}" in result.stderr
    assert "a-wrong-password" not in result.stderr


async def test_the_check_of_connections_says_why_for_each_server(
    secured: Secured, tmp_path: Path
) -> None:
    (free,) = free_ports(1)
    commands = with_a_wrong_password(secured, tmp_path)
    servers = f"kafka.bootstrap_servers={NAME}:{secured.login},127.0.0.1:{free}"
    result = await commands.run("check-config", "--connect", "--set", servers)
    assert result.code == 69
    assert REFUSED in " ".join(result.stdout.split())
    assert "nothing listens at this address" in result.stdout


async def test_the_worker_s_log_says_why(secured: Secured, tmp_path: Path) -> None:
    (admin,) = free_ports(1)
    kafka = with_a_wrong_password(secured, tmp_path).configuration["kafka"]
    options = WorkerOptions(
        bootstrap_servers=f"{NAME}:{secured.login}",
        base_url="http://127.0.0.1:9",
        topic="t",
        dead_letter_topic="t.dlq",
        group_id="g",
        keys={1111: "a-key"},
        admin_port=admin,
        overrides={"kafka": kafka},
    )
    worker = WorkerProcess(tmp_path, "locked-out", options)
    worker.start()
    try:
        found = await first_logged(worker, "kafka_not_reached")
    finally:
        worker.kill()
    assert found["detail"] == f"{NAME}:{secured.login}: {REFUSED}"
    assert "a-wrong-password" not in worker.log_file.read_text()


async def first_logged(worker: WorkerProcess, event: str) -> dict[str, Any]:
    """Wait for this event in the worker's log."""
    for _ in range(round(STEP_SECONDS_MAX / POLL_SECONDS)):
        text = worker.log_file.read_text() if worker.log_file.exists() else ""
        for line in lines(text[: text.rfind("\n") + 1]):
            if line["event"] == event:
                return line
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(worker.log_tail())

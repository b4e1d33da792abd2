"""A worker delivers through every login, and shows no secret in its log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.e2e.stage import KEYS, QUICK_GROUP, Stage, mixed, on_stage
from tests.kafka.security import logins
from tests.secured import GROUP, PASSWORD, PREFIXED, TOPIC, Secured, unsigned_token
from worker.edges.kafka.topics import Operation
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import WorkerOptions, WorkerProcess
from worker.sandbox.topics import committed_lag

COUNT = 20
# The broker has ended the first sessions of tokens by then, and each worker goes on with others.
PARTS = 2
SETTLE_SECONDS_MAX = 120.0
POLL_SECONDS = 0.25
# Longer than the test may take: a file or a command gives the same token for ever.
TOKEN_SECONDS = 3600.0


async def test_a_worker_delivers_through_every_login(
    secured: Secured, new_topic: Callable[[str], str], tmp_path: Path
) -> None:
    topic = new_topic("logins")
    await secured.allow(TOPIC, topic, Operation.READ, Operation.WRITE, pattern=PREFIXED)
    await secured.allow(GROUP, topic, Operation.READ, pattern=PREFIXED)
    token = unsigned_token(TOKEN_SECONDS)
    # Every token begins so. Less of it may be in a log by chance: commit metadata is base64 too.
    token_begins = token.partition(".")[0]
    async with (
        logins.token_endpoint() as endpoint,
        on_stage(secured.bootstrap_servers, topic, tmp_path) as stage,
    ):
        ways = {
            "tls": logins.tls(secured),
            "mutual-tls": logins.mutual(secured),
            "plain": logins.login(secured, "PLAIN"),
            "scram-256": logins.login(secured, "SCRAM-SHA-256"),
            "scram-512": logins.login(secured, "SCRAM-SHA-512"),
            "token-file": logins.token(secured, token_file=logins.token_file(tmp_path, token)),
            "token-command": logins.token(secured, token_command=logins.token_command(token)),
            "token-endpoint": logins.token(secured, **logins.client(endpoint)),
        }
        # All at once: a port that is drawn alone may be one that an earlier worker, still on its
        # way, has not opened yet.
        for (name, kafka), port in zip(ways.items(), free_ports(len(ways)), strict=True):
            _start(stage, name, kafka, port)
        for part in range(PARTS):
            await stage.publish(mixed(COUNT, seed=part))
            for name in ways:
                await _await_settled(stage, f"{topic}.{name}")
        for worker in stage.workers:
            log = worker.log_file.read_text()
            shown = [text for text in (PASSWORD, logins.CLIENT_SECRET, token_begins) if text in log]
            assert (shown, "Traceback" in log) == ([], False), worker.log_file.name


def _start(stage: Stage, name: str, kafka: logins.Settings, admin_port: int) -> None:
    """Start a worker with a group of its own."""
    options = WorkerOptions(
        bootstrap_servers=kafka["bootstrap_servers"],
        base_url=stage.emulator.base_url,
        topic=stage.topic,
        dead_letter_topic=stage.dead_letter_topic,
        group_id=f"{stage.topic}.{name}",
        keys=KEYS,
        admin_port=admin_port,
        overrides={"kafka": QUICK_GROUP | kafka, "log": {"level": "debug"}},
    )
    worker = WorkerProcess(stage.directory, name, options)
    stage.workers.append(worker)
    worker.start()


async def _await_settled(stage: Stage, group: str) -> None:
    for _ in range(round(SETTLE_SECONDS_MAX / POLL_SECONDS)):
        if await committed_lag(stage.bootstrap_servers, group, stage.topic) == 0:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise TimeoutError(f"{group}: {[worker.log_tail() for worker in stage.workers]}")

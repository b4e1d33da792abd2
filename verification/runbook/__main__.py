"""Play the scenes: `make runbook`.

`--scene NAME` plays one. Exit code 1 if a command of the runbook or a fix did not do what it says.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.e2e.stage import on_stage
from verification.runbook.scene import Scene, SceneFailedError
from verification.runbook.scenes import NOT_PLAYED, SCENES, Script
from verification.runbook.shell import missing_programs
from worker.errors import WorkerError
from worker.sandbox.kafka import ClusterOptions, KafkaCluster, Listener, free_ports

SCENE_SECONDS_MAX = 240.0

# With the listener that is advertised with the port of a proxy.
Brokers = tuple[KafkaCluster, Listener]


def main() -> int:
    """Play all scenes, or a single one."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [script.__name__ for script in SCENES]
    parser.add_argument("--scene", choices=names, help="play only this one")
    chosen = parser.parse_args().scene
    console = Console(highlight=False, soft_wrap=True, markup=False)
    missing = missing_programs()
    if missing:
        console.print(f"install Debian's packages {' '.join(missing)}: the scenes use them")
        return 2
    failed = 0
    port, advertised_port = free_ports(2)
    proxied = Listener("PROXIED", "PLAINTEXT", port, advertised_port=advertised_port)
    with KafkaCluster(ClusterOptions(listeners=(proxied,))) as kafka:
        for script, headings in SCENES.items():
            if chosen in {None, script.__name__}:
                console.print(f"{', '.join(headings)}: {script.__doc__}")
                failed += not _play(script, (kafka, proxied), console)
    for heading, reason in NOT_PLAYED.items():
        console.print(f"not played: {heading}: {reason}")
    console.print(f"{len(SCENES) if chosen is None else 1} scenes, {failed} failed")
    return 1 if failed else 0


def _play(script: Script, brokers: Brokers, console: Console) -> bool:
    """Play a scene; false if it failed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="appmetrica-worker-runbook-") as directory:
        try:
            asyncio.run(_perform(script, brokers, Path(directory), console))
        except (SceneFailedError, WorkerError, TimeoutError, RuntimeError) as error:
            console.print(f"  FAILED: {type(error).__name__}: {error}")
            return False
    console.print(f"  {time.monotonic() - began:.0f} s")
    return True


async def _perform(script: Script, brokers: Brokers, directory: Path, console: Console) -> None:
    topic = f"runbook-{script.__name__.replace('_', '-')}-{secrets.token_hex(2)}"
    kafka, proxied = brokers
    async with (
        asyncio.timeout(SCENE_SECONDS_MAX),
        on_stage(kafka.bootstrap_servers, topic, directory) as stage,
    ):
        await script(Scene(stage, kafka, proxied, directory, console.print))


if __name__ == "__main__":
    sys.exit(main())

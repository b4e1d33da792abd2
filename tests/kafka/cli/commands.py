"""The installed command, run as a process of its own, for tests on real Kafka."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from worker.sandbox.processes import end_with

COMMAND_SECONDS_MAX = 60.0
COMMAND = str(Path(sys.executable).with_name("appmetrica-worker"))


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and its output."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Its stdout as JSON."""
        return orjson.loads(self.stdout)


class Commands:
    """Runs commands with one configuration file, and nothing else of this environment."""

    def __init__(self, directory: Path, configuration: dict[str, Any]) -> None:
        self.configuration = configuration
        self._config_file = directory / "tools.yaml"
        self._config_file.write_text(yaml.safe_dump(configuration), encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        """What commands get to see."""
        return {"PATH": "/usr/bin:/bin", "AMW_CONFIG": str(self._config_file), **more}

    async def start(
        self, *arguments: str, out: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        """Start one and don't wait for it."""
        return await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            env=self.environment(),
            stdout=out,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=end_with(os.getpid()),
        )

    async def run(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Result:
        """Run one to its end; `environment` adds variables."""
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            env=self.environment(**environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=end_with(os.getpid()),
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS_MAX):
                out, err = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
        return Result(process.returncode or 0, out.decode(), err.decode())

    async def ok(self, *arguments: str) -> Result:
        """Run one that must end with 0."""
        result = await self.run(*arguments)
        assert result.code == 0, (arguments, result)
        return result


def configuration(bootstrap_servers: str, topic: str, **changes: Any) -> dict[str, Any]:
    """A configuration of one route whose API is nowhere."""
    return {
        "kafka": {"bootstrap_servers": bootstrap_servers, "group_id": topic},
        "routes": [{"topic": topic}],
        "dead_letter": {"topic": f"{topic}.dlq"},
        "appmetrica": {
            "base_url": "http://127.0.0.1:9",
            "applications": {
                "1111": {"post_api_key": "secret-one"},
                "2222": {"post_api_key": "secret-two"},
            },
        },
        **changes,
    }


def lines(text: str) -> Sequence[dict[str, Any]]:
    """A text of JSON lines."""
    return [orjson.loads(line) for line in text.splitlines()]

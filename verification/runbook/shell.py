"""Runs commands of the runbook as an operator would, against one worker on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from worker.errors import UnavailableError
from worker.sandbox.kafka_node import ENDPOINT, find
from worker.sandbox.processes import end_with

PROGRAMS = ("curl", "jq", "kcat", "prometheus")
COMMAND_SECONDS_MAX = 90.0
# A command that repeats until Ctrl-C, such as `lag --watch`, is ended after this time.
WATCH_SECONDS = 6
ENDED = 124
_TOOLS = ENDPOINT.replace("kafka_2.13", "kafka-tools")
_TOOLS_JAR = "kafka-tools-4.2.0.jar"
_TOOLS_SHA256 = "6b88f3f0799c585b5121d9f710e448cd365d4cfd55ff3ab5d2d81f52ae59030d"
_SCRIPTS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
}
# As Kafka's own scripts have it: only warnings.
_QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
# There is no cluster here: a pod's log is the worker's log file, and its files are this machine's.
_KUBECTL = """#!/bin/bash
case "$1" in
  logs) cat "$WORKER_LOG" ;;
  exec) shift 3; "$@" ;;
  *) echo "kubectl $1 needs a cluster" >&2; exit 3 ;;
esac
"""


def missing_programs() -> list[str]:
    """The programs of scenes that are not installed; Debian's packages have these names."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    output: str


class Shell:
    """A shell with the commands of the runbook.

    Args:
        directory: for its scripts and files.
        variables: of the environment; `ADMIN` is the worker's address.
        names: the placeholders of the runbook (BROKER, TOPIC, GROUP, POD …) and their values.
        wrapper: a command that replaces itself by the command that follows it.
    """

    def __init__(
        self,
        directory: Path,
        variables: Mapping[str, str],
        names: Mapping[str, str],
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self._directory = directory
        self._wrapper = wrapper
        self._names = names
        path = os.pathsep.join(
            [str(_scripts(directory)), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("AMW_")
        }
        self._environment = {**inherited, **variables, "PATH": path, "NO_COLOR": "1"}

    async def run(self, command: str) -> Result:
        """Run a command as it is written in the runbook."""
        for name, value in self._names.items():
            command = re.sub(rf"(?<![\w$]){re.escape(name)}(?!\w)", value, command)
        if "--watch" in command:
            command = f"timeout {WATCH_SECONDS} {command}"
        process = await asyncio.create_subprocess_exec(
            *(*self._wrapper, "bash", "-o", "pipefail", "-c", command),
            cwd=self._directory,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=end_with(os.getpid()),
        )
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, output.decode(errors="replace"))


def _scripts(directory: Path) -> Path:
    folder = directory / "bin"
    folder.mkdir(exist_ok=True)
    java, class_path = _kafka_tools()
    scripts = {
        name: f'#!/bin/bash\nexec "{java}" {_QUIET} -cp "{class_path}" {main} "$@"\n'
        for name, main in _SCRIPTS.items()
    }
    for name, text in {**scripts, "kubectl": _KUBECTL}.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


@cache
def _kafka_tools() -> tuple[Path, str]:
    """The runtime and the class path of Kafka's command-line tools."""
    packages = find()
    # `find` has made sure that it is installed.
    import jgo

    jars = sorted(Path(jgo.build(_TOOLS).path).rglob("*.jar"))
    (tools,) = [jar for jar in jars if jar.name == _TOOLS_JAR]
    if hashlib.sha256(tools.read_bytes()).hexdigest() != _TOOLS_SHA256:
        raise UnavailableError(f"{tools.name} has another checksum than this version expects")
    return packages.java, f"{packages.class_path}{os.pathsep}{tools}"

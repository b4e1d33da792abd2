"""The commands of docs/install.md, in their order, each run in a shell as a reader would.

Only what the page can't know is put in: its placeholders, one broker in place of three, and the
address of the emulator.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import jgo

from tests.install.install_page import PAGE, blocks
from tests.install.values import CHART
from verification.cluster.node_configuration import NODE_ADDRESS
from verification.cluster.world import API_URL, BROKERS, run
from worker.sandbox.kafka_node import find

TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
}
PROJECT = PAGE.parents[1]
ENDPOINT = "org.apache.kafka:kafka-tools:4.2.0+org.slf4j:slf4j-simple:1.7.36"
PLACEHOLDERS = {
    "--replication-factor 3": "--replication-factor 1",
    "min.insync.replicas=2": "min.insync.replicas=1",
}
ADDED = {
    "config": {"appmetrica": {"base_url": API_URL}},
    "resources": {"requests": {"cpu": "50m"}},
}
_FENCE = re.compile(r"^```yaml\n.*?^```$", re.DOTALL | re.MULTILINE)
_INDENT = "    "


def commands() -> list[str]:
    """All commands of the page. A line that is indented further continues its command."""
    found: list[str] = []
    for line in _FENCE.sub("", PAGE.read_text(encoding="utf-8")).splitlines():
        if not line.startswith(_INDENT):
            continue
        code = line.removeprefix(_INDENT)
        if code.startswith((" ", "done")):
            found[-1] += f"\n{code}"
        else:
            found.append(code)
    return found


def kafka_jars() -> tuple[Path, list[Path]]:
    """The Java runtime, and the jars of Kafka's tools; all of Kafka is downloaded once."""
    java = find().java
    return java, sorted(Path(jgo.build(ENDPOINT).path).rglob("*.jar"))


def kafka_tools(directory: Path) -> dict[str, list[str]]:
    """The command of each of Kafka's tools."""
    java, jars = kafka_jars()
    # Outside of the cluster its names can't be resolved.
    hosts = directory / "hosts"
    hosts.write_text(f"{NODE_ADDRESS} {' '.join(BROKERS)}\n")
    options = (f"-Djdk.net.hosts.file={hosts}", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    start = [str(java), *options, "-cp", os.pathsep.join(map(str, jars))]
    return {name: [*start, main_class] for name, main_class in TOOLS.items()}


class Page:
    """Runs the page's commands one after the other, in a folder like the reader's."""

    def __init__(self, directory: Path, placeholders: Mapping[str, str]) -> None:
        self.left = commands()
        self._directory = directory
        self._placeholders = PLACEHOLDERS | dict(placeholders)
        (directory / "helm").symlink_to(CHART)
        self.write("values.yaml", blocks()[0])
        self.write("added.json", ADDED)
        (directory / "bin").mkdir()
        helm = [sys.executable, "-m", "verification.cluster.helm", str(directory / "added.json")]
        for name, command in {"helm": helm, **kafka_tools(directory)}.items():
            file = directory / "bin" / name
            file.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            file.chmod(0o755)

    def write(self, name: str, content: object) -> None:
        """Write a file of the reader's. JSON is YAML."""
        (self._directory / name).write_text(json.dumps(content))

    def skip(self, start: str) -> None:
        """Take the next command, and don't run it."""
        self._take(start)

    async def run(self, start: str) -> str:
        """Run the next command of the page, which starts like this; return what it prints."""
        variables = (f"PATH={self._directory}/bin:{os.environ['PATH']}", f"PYTHONPATH={PROJECT}")
        script = f"exec 2>&1; cd {self._directory}; {self._take(start)}"
        shell = ("bash", "-euo", "pipefail", "-c", script)
        return await run("env", *variables, *shell)

    def _take(self, start: str) -> str:
        command = self.left.pop(0)
        if not command.startswith(start):
            raise AssertionError(f"the page goes on with another command: {command}")
        for placeholder, text in self._placeholders.items():
            command = command.replace(placeholder, text)
        return command

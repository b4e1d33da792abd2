"""What the sandbox starts: Kafka, its tools, workers. A message names what failed, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import UnavailableError
from worker.sandbox.kafka import free_ports
from worker.sandbox.kafka_node import KafkaNode, KafkaPackages
from worker.sandbox.processes import WorkerOptions, WorkerProcess


def node_with_java(directory: Path, script: str) -> KafkaNode:
    """A node whose `java` is a shell script."""
    java = directory / "java"
    java.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    java.chmod(0o755)
    return KafkaNode(KafkaPackages(java, ""), directory, "1g", port=0, direct_port=0)


def test_a_tool_that_takes_too_long_is_a_fault_in_a_sentence(tmp_path: Path) -> None:
    node = node_with_java(tmp_path, "exec sleep 60")
    with pytest.raises(UnavailableError, match=r"StorageTool took longer than 0.01 s: the machine"):
        node.java("kafka.tools.StorageTool", "format", seconds_max=0.01)


def test_a_tool_that_fails_is_named_with_its_exception(tmp_path: Path) -> None:
    node = node_with_java(tmp_path, "echo 'java.io.IOException: no space left' >&2; exit 1")
    with pytest.raises(
        UnavailableError, match=r"StorageTool failed: java.io.IOException: no space"
    ):
        node.java("kafka.tools.StorageTool", "format")


def test_a_start_that_ends_is_named_with_the_last_lines_of_its_log(tmp_path: Path) -> None:
    node = node_with_java(tmp_path, "echo 'no memory for the heap'; exit 1")
    node.launch()
    with pytest.raises(
        UnavailableError,
        match=r"did not start on 127.0.0.1:0, the process ended: no memory for the heap$",
    ):
        node.await_start()


async def test_a_worker_that_ends_at_its_start_is_named_with_its_last_lines(
    tmp_path: Path,
) -> None:
    options = WorkerOptions(
        bootstrap_servers="127.0.0.1:1",
        base_url="http://127.0.0.1:1",
        topic="events",
        dead_letter_topic="events.dlq",
        group_id="group",
        keys={1111: "key"},
        admin_port=free_ports(1)[0],
        overrides={},
        wrapper=("/bin/sh", "-c", "echo 'no room in /tmp'; exit 1"),
    )
    worker = WorkerProcess(tmp_path, "worker", options)
    worker.start()
    with pytest.raises(
        UnavailableError, match=r"did not become ready, the process ended: no room in /tmp$"
    ):
        await worker.await_ready()

"""Fills topics with librdkafka, in a process of its own: some µs for a record.

python -m bench.publishing BOOTSTRAP_SERVERS TOPIC SHAPE COUNT
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

PUBLISH_SECONDS_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Records:
    """The records to publish.

    `distinct` is how many of them differ, 0: all. `has_headers`: each names its event's id.
    `per_second` paces them; a paced event's number is its time, in Unix µs.
    """

    shape: str
    count: int
    compression: str = "lz4"
    distinct: int = 0
    has_headers: bool = False
    per_second: int = 0


def start(bootstrap_servers: str, topic: str, records: Records) -> subprocess.Popen[bytes]:
    """Start to publish in a process of its own."""
    command = [sys.executable, "-m", "bench.producer", bootstrap_servers, topic]
    command += [records.shape, str(records.count), "--compression", records.compression]
    command += ["--distinct", str(records.distinct), "--per-second", str(records.per_second)]
    command += ["--headers"] if records.has_headers else []
    return subprocess.Popen(command)


def publish(bootstrap_servers: str, topic: str, records: Records) -> None:
    """Publish in a process of its own, and wait for its end."""
    process = start(bootstrap_servers, topic, records)
    code = process.wait(PUBLISH_SECONDS_MAX)
    if code:
        raise subprocess.CalledProcessError(code, "bench.producer")

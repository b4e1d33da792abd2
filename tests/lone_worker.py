"""A worker process that reaches neither brokers nor an API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import WorkerOptions, WorkerProcess

KEY = "a-key-that-nobody-sees"


def lone_worker(directory: Path, **sections: Any) -> WorkerProcess:
    """A worker, not yet started, with these sections of the configuration.

    The admin port is a free one; a section `admin` adds to it.
    """
    nobody, port = free_ports(2)
    admin = {"host": "127.0.0.1", "port": port}
    given = sections.pop("admin", {})
    return WorkerProcess(
        directory,
        "lone",
        WorkerOptions(
            bootstrap_servers=f"127.0.0.1:{nobody}",
            base_url=f"http://127.0.0.1:{nobody}",
            topic="t",
            dead_letter_topic="t.dlq",
            group_id="g",
            keys={1111: KEY},
            admin_port=port,
            overrides={**sections, "admin": admin | given},
        ),
    )

"""What Prometheus's own tool says of the metrics."""

from __future__ import annotations

import subprocess

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, generate_latest

from tests.readings import make_registry

CHECK_SECONDS_MAX = 60


def test_the_metrics_are_as_prometheus_wants_them(promtool: str) -> None:
    registry = make_registry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(registry),
        capture_output=True,
        timeout=CHECK_SECONDS_MAX,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")

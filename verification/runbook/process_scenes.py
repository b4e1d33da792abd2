"""Scenes of the process: its configuration and key files, its end, its memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from tests.e2e.stage import KEYS
from verification.runbook.scene import (
    NO_CLUSTER,
    UNAVAILABLE,
    Expected,
    Scene,
    SceneFailedError,
    events,
)
from worker.errors import UnavailableError
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.prometheus import PrometheusOptions, PrometheusServer

WRONG_CONFIGURATION = 78
MEBIBYTE = 1024 * 1024
ALERT_SHARE = 0.9
LARGE_EVENTS = 14_000
LARGE_EVENT_BYTES = 5000
CONTAINER_BYTES = 135 * MEBIBYTE
# A container shows its limit here, by either version of control groups. The kernel doesn't enforce
# this limit.
CONTAINER = (
    "unshare",
    "--map-root-user",
    "--mount",
    "bash",
    "-ec",
    f"""mount -t tmpfs none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/memory
    echo {CONTAINER_BYTES} > /sys/fs/cgroup/memory.max
    echo {CONTAINER_BYTES} > /sys/fs/cgroup/memory/memory.limit_in_bytes
    exec "$@" """,
    "container",
)


async def key_file_unusable(scene: Scene) -> None:
    """A key file becomes empty."""
    file = scene.directory / "1111"
    file.write_text(KEYS[1111], encoding="utf-8")
    scene.keys = {}
    await scene.start({"appmetrica": {"applications": _key_in(file)}})
    _replace(file, "")
    await scene.until_metric("key_files_unusable", 1)
    await scene.run(
        "Key file unusable", Expected("key_not_(read|usable)"), Expected("1111"), NO_CLUSTER
    )
    _replace(file, "a-new-key-for-the-application-0c44")
    scene.stage.emulator.set_keys({1111: "a-new-key-for-the-application-0c44"})
    await scene.until_metric("key_files_unusable", 0)
    if "key_changed" not in scene.worker.log_file.read_text(encoding="utf-8"):
        raise SceneFailedError("the log has no key_changed")


def _key_in(file: Path) -> dict[str, Any]:
    return {"1111": {"post_api_key_file": str(file)}}


def _replace(file: Path, text: str) -> None:
    """Replace a file at once, as the kubelet does."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(file)


async def crash_loop(scene: Scene) -> None:
    """The admin port is in use, then a setting is wrong: the process ends after each start."""
    port = URL(scene.stage.emulator.base_url).port
    await _start_in_vain(scene, {"admin": {"port": port}}, UNAVAILABLE)
    log = await scene.shell(scene.stage.topic).run("kubectl logs POD --previous")
    if not re.search(rf'"run_failed".*"detail":"cannot listen on 127.0.0.1:{port}', log.output):
        raise SceneFailedError(f"the log does not name the port: {log.output[-2000:]}")
    for _ in range(2):
        await _start_in_vain(scene, {"batching": {"rows_max": 0}}, WRONG_CONFIGURATION)
    await scene.run(
        "Crash loop",
        NO_CLUSTER,
        Expected(r"batching\.rows_max"),
        Expected(r"batching\.rows_max", (WRONG_CONFIGURATION,)),
    )
    await scene.start()
    await scene.publish(*events(10))
    await scene.stage.await_rows(10)


async def _start_in_vain(scene: Scene, overrides: Mapping[str, Any], code: int) -> None:
    with suppress(UnavailableError):
        await scene.start(overrides)
    ended = await scene.worker.wait(1)
    if ended != code:
        raise SceneFailedError(f"the exit code is {ended} instead of {code}")
    scene.say(f"  the process has ended with {code}")


async def absent(scene: Scene) -> None:
    """The worker has ended; then a worker runs that Prometheus doesn't scrape."""
    await scene.start()
    async with _prometheus(scene.directory) as prometheus:
        prometheus.scrape({"workers": [scene.worker.admin_url]})
        await _until_absent(scene, prometheus, is_absent=False)
        scene.worker.kill()
        await _until_absent(scene, prometheus, is_absent=True)
        await scene.run("Absent", NO_CLUSTER, NO_CLUSTER, Expected("consumer|started"))
        await scene.start()
        await _until_absent(scene, prometheus, is_absent=True)
        prometheus.scrape({"workers": [scene.worker.admin_url]})
        await _until_absent(scene, prometheus, is_absent=False)


@asynccontextmanager
async def _prometheus(directory: Path) -> AsyncIterator[PrometheusServer]:
    server = PrometheusServer(PrometheusOptions(directory, scrape_seconds=1))
    try:
        server.scrape({})
        await server.start()
        yield server
    finally:
        server.kill()


async def _until_absent(scene: Scene, prometheus: PrometheusServer, *, is_absent: bool) -> None:
    """Wait until the expression of the alert has a value, or none."""
    query = {"query": "absent(appmetrica_worker_build_info)"}
    answer: dict[str, Any] = {}
    async with aiohttp.ClientSession() as session:
        for _ in range(60):
            async with session.get(f"{prometheus.url}/api/v1/query", params=query) as response:
                answer = await response.json()
            if bool(answer["data"]["result"]) is is_absent:
                scene.say(f"  build_info is {'absent' if is_absent else 'there'}")
                return
            await asyncio.sleep(0.5)
    raise SceneFailedError(f"Prometheus still answers {answer}")


async def memory_near_limit(scene: Scene) -> None:
    """The API is down, and the buffer is too large for the container."""
    scene.stage.wrapper = CONTAINER
    scene.stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503))
    await scene.start(_memory(64))
    await scene.publish(*events(LARGE_EVENTS, event_json={"text": "x" * LARGE_EVENT_BYTES}))
    await _until_full(scene)
    share = await _memory_share(scene)
    if share <= ALERT_SHARE:
        raise SceneFailedError(f"only {share:.0%} of the container's memory is in use")
    await scene.run(
        "Memory near limit",
        Expected(r"(?s)resident_memory.*memory_limit_bytes \d"),
        Expected("warning: memory: at most 228 MiB; the container allows 135 MiB"),
        NO_CLUSTER,
    )
    await scene.stop()
    await scene.start(_memory(32))
    await scene.fix("! appmetrica-worker check-config | grep warning")
    await _until_full(scene)
    for _ in range(5):
        share = await _memory_share(scene)
        if share > ALERT_SHARE:
            raise SceneFailedError("the share does not stay below 90 %")
        await asyncio.sleep(1)
    scene.stage.emulator.plan()
    await scene.stage.await_rows(LARGE_EVENTS)


def _memory(mebibytes: int) -> dict[str, Any]:
    return {
        "limits": {"memory_bytes_max": mebibytes * MEBIBYTE, "span_records_max": 1_000_000},
        "dedup": {"window_rows_max": 10_000, "rebuild_records_max": 1000},
    }


async def _until_full(scene: Scene) -> None:
    """Wait until reception has paused."""
    await scene.until(
        "the buffer is full",
        lambda status: status["held_bytes"] > 7 / 8 * status["held_bytes_max"],
    )


async def _memory_share(scene: Scene) -> float:
    """The expression of the alert."""
    page = await scene.worker.metrics()
    (resident,) = re.findall(r"^process_resident_memory_bytes (\S+)$", page, re.MULTILINE)
    (limit,) = await scene.metric("memory_limit_bytes")
    share = float(resident) / limit
    scene.say(f"  {share:.0%} of the container's memory is in use")
    return share

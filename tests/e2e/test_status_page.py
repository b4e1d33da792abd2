"""The status page of real workers in a real browser: health, a hold, an outage, a drain."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.browser import assert_accessible, await_state, open_browser, open_page, take_pictures
from tests.e2e.stage import KEYS, Stage, meanwhile, mixed, on_stage
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import WorkerOptions, WorkerProcess

ROUNDS_MAX = 300
DELIVERING = ("delivering", "catching_up")


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("page"), tmp_path) as stage:
        yield stage


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@asynccontextmanager
async def streaming(stage: Stage) -> AsyncIterator[None]:
    """Publish a few hundred records a second meanwhile."""

    async def stream() -> None:
        for round_number in range(ROUNDS_MAX):
            await stage.publish(mixed(200, seed=round_number + 2, has_refused=False))
            await asyncio.sleep(0.5)

    async with meanwhile(stream):
        yield


async def await_text(page: Page, selector: str, wanted: str) -> None:
    await page.locator(selector, has_text=wanted).first.wait_for()


async def assert_top_shows(worker: WorkerProcess) -> None:
    """The command `top` shows the same worker."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "top", "--once", "--url", worker.admin_url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    for words in (b"Delivering", b"in memory", b"dlq peek --reason"):
        assert words in output, words


async def await_history(page: Page) -> None:
    """Wait for the second point of the history, 20 s after the start."""
    await page.locator("#strip rect").nth(1).wait_for(state="attached")


async def await_listening(port: int) -> None:
    """Wait until somebody listens on this port."""
    for _ in range(ROUNDS_MAX):
        with suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"nobody listens on {port}")


async def test_health(stage: Stage, browser: Browser) -> None:
    worker = await stage.start_worker()
    async with streaming(stage), open_page(browser, f"{worker.admin_url}/") as page:
        await await_state(page, DELIVERING)
        await page.locator("#dead-letters code").first.wait_for()
        await await_history(page)
        assert await page.locator("#partitions tr").count() == 4
        assert await page.locator("#applications tr").count() == 2
        assert "/s" in await page.locator("#rate-delivered").inner_text()
        await assert_top_shows(worker)
        await take_pictures(page, "health")
        await assert_accessible(page)


async def test_a_hold(stage: Stage, browser: Browser) -> None:
    worker = await stage.start_worker(keys=KEYS | {1111: "a-key-that-was-revoked"})
    async with streaming(stage), open_page(browser, f"{worker.admin_url}/") as page:
        await await_state(page, ["held"])
        title = await page.locator("#verdict-title").inner_text()
        assert title == "Held: application 1111, the API refuses the key (403)"
        assert "right key" in await page.locator("#verdict-action").inner_text()
        await await_text(page, "#applications tr", "held: http_403")
        await await_history(page)
        await take_pictures(page, "hold")
        await assert_accessible(page)


async def test_an_outage_and_its_end(stage: Stage, browser: Browser) -> None:
    stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503))
    worker = await stage.start_worker({"delivery": {"backoff_max_seconds": 1}})
    async with streaming(stage), open_page(browser, f"{worker.admin_url}/") as page:
        await await_state(page, ["api_down"])
        assert "API down: the API answers 503" in await page.locator("#verdict-title").inner_text()
        assert "No event is lost for" in await page.locator("#verdict-consequence").inner_text()
        await await_text(page, "#api-facts", "open")
        await await_text(page, "#applications tr", "waits for the API")
        await await_history(page)
        await take_pictures(page, "outage")
        await assert_accessible(page)
        stage.emulator.plan()
        await await_state(page, DELIVERING)


async def test_a_drain_and_the_end_of_the_worker(stage: Stage, browser: Browser) -> None:
    stage.emulator.plan(PlannedFault(FaultKind.DELAY, delay_seconds=8.0))
    worker = await stage.start_worker()
    await stage.publish(mixed(400, has_refused=False))
    async with open_page(browser, f"{worker.admin_url}/") as page:
        await await_text(page, "#worker-facts", "in flight")
        await await_state(page, DELIVERING)
        worker.send(signal.SIGTERM)
        await await_state(page, ["draining"])
        assert "stops within" in await page.locator("#verdict-consequence").inner_text()
        await take_pictures(page, "drain")
        await await_state(page, ["silent"])
        assert "Last known: Draining" in await page.locator("#also").inner_text()
    assert await worker.wait(60.0) == 0


async def test_a_worker_that_reaches_neither_kafka_nor_the_api(
    browser: Browser, tmp_path: Path
) -> None:
    kafka, api, admin = free_ports(3)
    options = WorkerOptions(
        bootstrap_servers=f"127.0.0.1:{kafka}",
        base_url=f"http://127.0.0.1:{api}",
        topic="none",
        dead_letter_topic="none.dlq",
        group_id="none",
        keys=KEYS,
        admin_port=admin,
        overrides={},
    )
    worker = WorkerProcess(tmp_path, "worker", options)
    worker.start()
    try:
        await await_listening(admin)
        async with open_page(browser, f"{worker.admin_url}/") as page:
            await await_state(page, ["joining", "kafka_down"])
            await await_text(page, "#errors", "kafka_not_reached")
            assert await page.locator("#lag").inner_text() == "unknown"
            await take_pictures(page, "unreachable")
            await assert_accessible(page)
    finally:
        worker.kill()

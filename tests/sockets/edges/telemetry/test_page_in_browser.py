"""The status page in a real browser, over a worker's reading that the test changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest
from playwright.async_api import Browser, Page

from tests.browser import assert_accessible, await_state, open_browser, open_page, take_pictures
from tests.builders import make_assignment
from tests.readings import INFO, make_answers, make_reading
from worker.core.counters.snapshot import HoldStatus, PartitionStatus
from worker.core.model.record import TopicPartition
from worker.edges.telemetry.admin_listener import Address
from worker.edges.telemetry.admin_server import AdminServer
from worker.edges.telemetry.reading import Reading

# A browser that draws a dozen pictures is slow where it shares its cores.
pytestmark = pytest.mark.timeout(600.0)
NOW = 1_700_000_100.0
# What would do something if it were taken for HTML.
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


class Served:
    """An admin port whose reading changes."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.asked = 0
        self.server = AdminServer(Address("127.0.0.1", 0), make_answers(self.read))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/"

    def read(self) -> Reading:
        self.asked += 1
        return self.reading


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served(make_reading(unix_seconds=NOW))
    await served.server.start()
    yield served
    await served.server.stop()


async def text(page: Page, selector: str) -> str:
    return await page.locator(selector).first.inner_text()


async def test_a_worker_with_every_trouble_is_shown_and_accessible(
    served: Served, browser: Browser
) -> None:
    async with open_page(browser, served.url) as page:
        await await_state(page, ["imbalance"])
        assert "Held: application 1111, the API refuses the key (403)" in await text(page, "#also")
        assert "held: http_403" in await text(page, "#applications tr")
        assert "no leader" in await text(page, "#partitions tr")
        assert await text(page, "#dead-letters code") == (
            "appmetrica-worker dlq peek --reason missing"
        )
        assert "13 d" in (await text(page, "#outlook")) or "44 s" in await text(page, "#outlook")
        await take_pictures(page, "every-trouble")
        await assert_accessible(page)


async def test_foreign_text_is_shown_as_text(served: Served, browser: Browser) -> None:
    reading = make_reading(
        info=replace(INFO, host=HOSTILE, group_id=HOSTILE, version=HOSTILE),
        holds=(HoldStatus(1111, HOSTILE, 1.0, 2.0, 5, is_parking=False),),
        partition_errors={TopicPartition(HOSTILE, 4): HOSTILE},
        not_ready_because=HOSTILE,
        imbalance=0,
    )
    line = {"ts": HOSTILE, "level": HOSTILE, "event": HOSTILE, HOSTILE: HOSTILE}
    reading.logs.note(orjson.dumps(line).decode())
    served.reading = reading
    async with open_page(browser, served.url) as page:
        await page.locator("#details").wait_for()
        for place in ("#host", "#identity", "#version", "#applications", "#partitions", "#errors"):
            assert HOSTILE in await text(page, place), place
        assert await page.locator("img").count() == 0
        assert await page.locator("script").count() == 1
        assert await page.title() != "taken"


async def test_a_thousand_partitions_and_applications_are_cut_and_the_page_says_so(
    served: Served, browser: Browser
) -> None:
    served.reading = make_reading(
        info=replace(INFO, applications=tuple(range(1, 1001))),
        partitions=tuple(
            PartitionStatus(make_assignment(n), 1, 1, 1, 0, is_paused=False, is_draining=False)
            for n in range(1000)
        ),
    )
    async with open_page(browser, served.url) as page:
        await page.locator("#details").wait_for()
        assert await page.locator("#partitions tr").count() == 100
        assert "100 of 1,000 partitions" in await text(page, "#partitions-caption")
        assert await page.locator("#applications tr").count() == 100
        assert "100 of 1,000 applications" in await text(page, "#applications-caption")


async def test_a_worker_that_stops_answering_is_shown_as_silent_and_returns(
    browser: Browser,
) -> None:
    served = Served(make_reading(unix_seconds=NOW))
    await served.server.start()
    port = served.server.port
    async with open_page(browser, served.url) as page:
        await await_state(page, ["imbalance"])
        await served.server.stop()
        await await_state(page, ["silent"])
        assert "does not answer since" in await text(page, "#verdict-title")
        assert "Last known: The accounting" in await text(page, "#also")
        assert await text(page, "#announcement") == await text(page, "#verdict-title")
        assert "held: http_403" in await text(page, "#applications tr")
        await take_pictures(page, "silent")
        await assert_accessible(page)
        again = AdminServer(Address("127.0.0.1", port), make_answers(served.read))
        await again.start()
        try:
            await await_state(page, ["imbalance"])
        finally:
            await again.stop()


async def test_only_a_new_state_is_announced(served: Served, browser: Browser) -> None:
    served.reading = make_reading(unix_seconds=NOW, imbalance=3)
    async with open_page(browser, served.url) as page:
        await await_state(page, ["imbalance"])
        announced = await text(page, "#announcement")
        served.reading = make_reading(unix_seconds=NOW, imbalance=4)
        await page.get_by_role("heading", name="The accounting can't explain 4 records").wait_for()
        assert await text(page, "#announcement") == announced
        served.reading = make_reading(unix_seconds=NOW, imbalance=0)
        await await_state(page, ["topic_blocked"])
        assert await text(page, "#announcement") == await text(page, "#verdict-title")


async def test_a_selection_survives_an_update(served: Served, browser: Browser) -> None:
    async with open_page(browser, served.url) as page:
        code = page.locator("#dead-letters code").first
        await code.click()
        selected = await page.evaluate("String(getSelection())")
        asked = served.asked
        served.reading = make_reading(unix_seconds=NOW + 60, held_bytes=4321)
        await page.get_by_text("4.2 KiB of 4.9 KiB").wait_for()
        assert served.asked > asked
        assert selected == "appmetrica-worker dlq peek --reason missing"
        assert await page.evaluate("String(getSelection())") == selected


async def test_everything_is_reached_with_the_keyboard(served: Served, browser: Browser) -> None:
    async with open_page(browser, served.url) as page:
        await page.locator("#details").wait_for()
        reached: list[str] = []
        for _ in range(9):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate(
                    "document.activeElement.getAttribute('aria-labelledby')"
                    " ?? document.activeElement.getAttribute('href') ?? ''"
                )
            )
    assert reached == [
        "#main",
        "applications-title",
        "dead-letters-title",
        "partitions-title",
        "errors-title",
        "status",
        "metrics",
        "readyz",
        "livez",
    ]

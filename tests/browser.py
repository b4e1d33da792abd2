"""A real browser for the tests of the status page: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable")
# What a page waits for at most, on a busy machine.
WAIT_MILLISECONDS = 60_000
PICTURES = Path(__file__).parents[1] / "build" / "status-page"
WIDTHS = (1280, 768, 360)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def chromium() -> str:
    """The path of Chromium."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail("Chromium is missing: install Debian's package chromium")
    return found


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start a browser, and end it."""
    # Chromium refuses its sandbox to root; a container has no room in /dev/shm.
    arguments = ["--disable-dev-shm-usage"] + ["--no-sandbox"] * (os.geteuid() == 0)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_page(browser: Browser, url: str, width: int = 1280) -> AsyncIterator[Page]:
    """Open the page; it must have no error in its console, such as a violated policy."""
    page = await browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(WAIT_MILLISECONDS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # What the browser says about a connection that fails is the subject of some tests.
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    await page.goto(url, wait_until="domcontentloaded")
    try:
        yield page
        assert errors == []
    finally:
        await page.close()


async def await_state(page: Page, states: Sequence[str]) -> str:
    """Wait until the headline has one of these states; returns it."""
    selector = ", ".join(f'#verdict[data-state="{state}"]' for state in states)
    return await page.locator(selector).get_attribute("data-state") or ""


async def take_pictures(page: Page, name: str) -> None:
    """Draw the page at each width in each colour scheme; nothing is cut off at the side."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            path = PICTURES / f"{name}-{width}-{scheme}.png"
            await page.screenshot(path=path, full_page=True)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name}: {wide} pixels wide at {width}"


async def assert_accessible(page: Page) -> None:
    """Check the page with axe, wide and narrow, light and dark."""
    for width in (WIDTHS[0], WIDTHS[-1]):
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            found = await Axe().run(page)
            assert found.violations_count == 0, found.generate_report()

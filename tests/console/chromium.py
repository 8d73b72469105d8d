"""Helpers that open pages in a real Chromium, and report everything that a page must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start Chromium while the block runs."""
    if CHROMIUM is None:
        assert "CHROMIUM_REQUIRED" not in os.environ, "install the Debian package chromium"
        pytest.skip("the Debian package chromium is not installed")
    with sync_playwright() as playwright:
        # A container has no sandbox for Chromium, and often little shared memory. Only the pages under test are opened.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=options)


def open_page(browser: Browser, width: int, scheme: str, problems: list[str], **headers: str) -> Page:
    """Open a page that reports requests to other origins, and everything that Chromium complains about.

    The headers are sent with every request, such as the bearer token that a proxy adds.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type] # "light" or "dark"
        extra_http_headers=headers,
    )
    return watch_page(context, problems)


def watch_page(context: BrowserContext, problems: list[str]) -> Page:
    """Open a page of a context, and report its problems."""
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: problems.extend([] if "//127.0.0.1:" in request.url else [request.url]))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    return page


def check_page(page: Page) -> None:
    """Check that axe finds nothing, that nothing is wider than the window, and that no script of a recorded text ran."""
    found = Axe().run(page, options={"runOnly": RULES}).response
    assert found["passes"], "axe checked nothing"
    violations = [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]
    assert violations == [], f"{page.url}: {violations}"
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page.url
    assert page.title() != "attacked"
